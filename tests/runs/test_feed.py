"""The feed of a thread's events: replay and live without a seam, for many subscriptions, as long as they may read."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import orjson
import pytest
from django.conf import LazySettings
from django.db import OperationalError
from django.utils import timezone

from accounts.authentication import identify_by_api_key
from accounts.models import ApiKey, Membership, User
from accounts.services import revoke_tokens
from accounts.tenancy import Credential, Tenant
from runs import lifecycle
from runs.api import access
from runs.api import feed as feed_module
from runs.api.feed import AccessLost, Feed, Joined
from runs.api.parts import PART_EVENTS
from runs.database import in_database
from runs.lifecycle import Outcome, Write
from runs.log import Hub, StreamCut
from runs.log import hub as hub_module
from runs.log.read import PAGE
from runs.models import EventChunk, Purge, Run, Thread
from runs.protocol import events
from runs.protocol.events import Event
from runs.protocol.selection import Selection, selection
from runs.protocol.subscriptions import cursor_of
from runs.records import record, unpack
from runs.states import CancelAction, RunStatus
from tests.factories import api_key_of, chunks_of, make_run, make_thread, tenant_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("hub")]

SUCCESS = Outcome(RunStatus.SUCCESS)
#: So long that a test which waits for it fails.
NEVER = 60.0
ALL = selection(["values", "lifecycle", "custom", "updates"])
LAYERS = {
    "live": {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 10000}},
    "full": {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 1}},
    "unreliable": {"BACKEND": "tests.fakes.UnreliableLayer"},
    "silent": {"BACKEND": "tests.fakes.ForgetfulLayer"},
}


@pytest.fixture
def tenant(alice: User, acme: object) -> Tenant:
    return tenant_of(alice)


@pytest.fixture
def run(tenant: Tenant) -> Run:
    return make_run(tenant, status=RunStatus.RUNNING)


@pytest.fixture(autouse=True)
def layer(request: pytest.FixtureRequest, settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """How the doorbell rings. Where it rings every time, nobody looks without having heard it."""
    name = getattr(request, "param", "live")
    settings.CHANNEL_LAYERS = {"default": LAYERS[name]}
    settings.STREAM_HEARTBEAT = NEVER
    for module in (hub_module, access, feed_module):
        monkeypatch.setattr(module, "POLL_SECONDS", NEVER if name == "live" else 0.01)
    monkeypatch.setattr("runs.api.access.ACCESS_SECONDS", NEVER)
    monkeypatch.setattr("runs.api.access._LOOK_SECONDS", 0.001)


silent = pytest.mark.parametrize("layer", ["silent"], indirect=True)


async def emit(run: Run, *values: Any, outcome: Outcome | None = None, method: str = "values") -> None:
    records = [record(method, value) for value in values]
    await in_database(lifecycle.write, [Write(run.pk, run.claim, run.thread_id, records, outcome)])


async def end(run: Run) -> None:
    await emit(run, outcome=SUCCESS)


class Reader:
    """What a feed has brought so far."""

    def __init__(self) -> None:
        self.parts: list[list[Event] | Joined] = []

    @property
    def events(self) -> list[Event]:
        return [event for part in self.parts if not isinstance(part, Joined) for event in part]

    @property
    def seqs(self) -> list[int]:
        return [event.seq for event in self.events]

    @property
    def ids(self) -> list[str]:
        """A state's without its moment."""
        return [orjson.loads(event.body)["event_id"].partition("-")[0] for event in self.events]

    @property
    def joined(self) -> list[Joined]:
        return [part for part in self.parts if isinstance(part, Joined)]

    def data(self, method: str = "values") -> list[Any]:
        return [orjson.loads(event.body)["params"]["data"] for event in self.events if event.method == method]

    async def read(self, feed: Feed) -> None:
        async for part in feed.events():
            self.parts.append(part)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


@asynccontextmanager
async def reading(feed: Feed) -> AsyncIterator[Reader]:
    reader = Reader()
    task = asyncio.create_task(reader.read(feed))
    try:
        yield reader
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def feed_of(tenant: Tenant, thread_id: str, wanted: Selection = ALL, since: int | None = None) -> Feed:
    feed = Feed(tenant, thread_id)
    feed.join("one", wanted, since)
    return feed


async def ended(feed: Feed) -> BaseException | None:
    """How a feed ends, which it does soon."""
    try:
        async with asyncio.timeout(10):
            await Reader().read(feed)
    except (StreamCut, AccessLost) as exc:
        return exc
    return None


async def test_what_was_there_and_what_comes_is_one_row(tenant: Tenant, run: Run) -> None:
    await emit(run, {"a": 1}, {"a": 2})
    async with reading(feed_of(tenant, run.thread_id)) as reader:
        await until(lambda: reader.joined)
        assert reader.joined == [Joined("one", 3)]
        await emit(run, {"a": 3})
        await end(run)
        await until(lambda: len(reader.events) == 5)
    assert reader.ids == ["state.0", "1", "2", "3", "4"]
    assert reader.data() == [{"a": 2}, {"a": 1}, {"a": 2}, {"a": 3}]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("layer", LAYERS, indirect=True)
async def test_no_event_is_lost_or_repeated(run: Run, tenant: Tenant, settings: LazySettings, seed: int) -> None:
    """Subscriptions that come at any moment, to fast and slow readers, while runs of the thread append."""
    settings.FOLLOW_MAX_EVENTS = 8
    chance = random.Random(seed)
    thread = await in_database(Thread.objects.get)
    waiting = [await in_database(make_run, tenant, thread) for _ in range(4)]
    wanted = selection(["custom", "lifecycle"])

    async def breathe() -> None:
        for _ in range(chance.randrange(30)):
            await asyncio.sleep(0)

    async def follower(after: int) -> tuple[int, list[int]]:
        found: list[int] = []
        async for part in feed_of(tenant, run.thread_id, wanted, after).events():
            for event in part if not isinstance(part, Joined) else ():
                found.append(event.seq)
                if b'"completed"' in event.body:
                    return after, found
            await breathe()
        return after, found

    followers = []
    for number in range(30):
        if waiting and chance.random() < 0.1:
            await in_database(lifecycle.request_cancel, waiting.pop().pk, run.thread_id, CancelAction.INTERRUPT)
        last = (await in_database(Thread.objects.get)).last_seq
        if number % 5 == 0 or chance.random() < 0.2:
            followers.append(asyncio.create_task(follower(chance.randint(0, last))))
        await emit(run, *range(chance.randint(1, 4)), method="custom")
        await breathe()
    await end(run)
    chunks = await in_database(chunks_of, run.thread_id)
    shown = [seq for chunk in chunks for seq, one in unpack(chunk) if one.method in ("custom", "end")]
    async with asyncio.timeout(20):
        for after, found in await asyncio.gather(*followers):
            assert found == [seq for seq in shown if seq > after]


# Several subscriptions.


async def test_an_event_that_several_want_comes_once(tenant: Tenant, run: Run) -> None:
    feed = feed_of(tenant, run.thread_id, selection(["values"]))
    feed.join("two", selection(["values", "custom"]))
    feed.join("three", selection(["updates"]))
    async with reading(feed) as reader:
        await until(lambda: len(reader.joined) == 3)
        for number in range(3):
            await emit(run, number)
            await emit(run, {"one": number, "two": number}, method="updates")
            await emit(run, number, method="custom")
        await until(lambda: len(reader.events) == 12)
    assert reader.ids == ["1", "2.1", "2.2", "3", "4", "5.1", "5.2", "6", "7", "8.1", "8.2", "9"]


async def test_what_one_record_becomes_for_several_is_in_order(tenant: Tenant, run: Run) -> None:
    """The end of a run of the classic API ends its messages, too."""
    feed = feed_of(tenant, run.thread_id, selection(["lifecycle"]))
    feed.join("two", selection(["messages"]))
    feed.join("three", selection(["messages", "lifecycle"]))
    piece = [{"type": "AIMessageChunk", "content": "hello", "id": "1"}, {}]
    async with reading(feed) as reader:
        await until(lambda: len(reader.joined) == 3)
        await emit(run, piece, method="messages")
        await end(run)
        await until(lambda: any(event.method == "lifecycle" for event in reader.events))
    assert reader.ids[-1] == "2" and "2.1" in reader.ids
    assert len(set(reader.ids)) == len(reader.ids) and reader.seqs == sorted(reader.seqs)


async def test_one_that_joins_gets_what_was_and_the_others_do_not_miss_a_thing(tenant: Tenant, run: Run) -> None:
    feed = feed_of(tenant, run.thread_id, selection(["values"]))
    async with reading(feed) as reader:
        await until(lambda: reader.joined)
        await emit(run, 1, 2)
        await until(lambda: len(reader.events) == 2)
        feed.join("two", selection(["values"]))
        await emit(run, 3)
        await until(lambda: reader.seqs[-1:] == [3] and len(reader.joined) == 2)
    begun = reader.parts.index(reader.joined[1])
    assert reader.joined[1].replayed == 3
    before = [event.seq for part in reader.parts[:begun] if not isinstance(part, Joined) for event in part]
    assert before in ([1, 2, 0, 1, 2], [1, 2, 3, 0, 1, 2])
    assert reader.seqs[: len(before)] == before and reader.seqs.count(3) == 1


async def test_who_left_gets_nothing_more(tenant: Tenant, run: Run) -> None:
    feed = feed_of(tenant, run.thread_id, selection(["values"]))
    feed.join("two", selection(["custom"]))
    async with reading(feed) as reader:
        await until(lambda: len(reader.joined) == 2)
        assert feed.leave("one") and not feed.leave("one") and not feed.leave("unknown")
        await emit(run, 1)
        await emit(run, 2, method="custom")
        await until(lambda: reader.events)
        assert reader.seqs == [2]
        assert feed.leave("two")
        await emit(run, 3, method="custom")
        feed.join("one", selection(["values"]), 0)
        await until(lambda: len(reader.joined) == 3)
        await emit(run, 4)
        await until(lambda: reader.seqs == [2, 1, 4])


async def test_who_leaves_while_it_joins_has_not_joined(tenant: Tenant, run: Run) -> None:
    await emit(run, *range(3))
    feed = feed_of(tenant, run.thread_id, since=0)
    feed.join("two", ALL, 0)
    parts = []
    async for part in feed.events():
        parts.append(part)
        if len(parts) == 1:
            assert feed.leave("one")
        if isinstance(part, Joined):
            break
    assert parts[-1] == Joined("two", 3)


@pytest.mark.parametrize("again", [False, True])
async def test_who_leaves_while_nothing_is_read_has_not_joined(
    tenant: Tenant, run: Run, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does one that comes back meanwhile get what it wanted before."""
    await emit(run, *range(3))
    feed = feed_of(tenant, run.thread_id, since=0)
    loop = asyncio.get_running_loop()
    leaving = [feed.leave]

    def read_nothing(*_: object) -> list[Any]:
        while leaving:
            loop.call_soon_threadsafe(leaving.pop(), "one")
            if again:
                loop.call_soon_threadsafe(feed.join, "one", selection(["custom"]), 3)
        return []

    monkeypatch.setattr(feed_module, "read_visible_after", read_nothing)
    async with reading(feed) as reader:
        await until(lambda: not leaving and not feed._wishes)
        monkeypatch.undo()
        feed.join("two", selection(["lifecycle"]), 3)
        await until(lambda: Joined("two", 0) in reader.joined)
        await emit(run, 4)
        await emit(run, 5, method="custom")
        await end(run)
        await until(lambda: 6 in reader.seqs)
    assert reader.seqs == ([5, 6] if again else [6])
    assert len(reader.joined) == (2 if again else 1)


async def test_those_that_begin_together_are_shown_one_row(tenant: Tenant, run: Run) -> None:
    """So a reader that was cut anywhere in it misses nothing."""
    for number in range(3):
        await emit(run, number)
        await emit(run, number, method="custom")
        await emit(run, {"one": number, "two": number}, method="updates")
    wanted = {"one": selection(["values"]), "two": selection(["custom", "values"]), "three": selection(["updates"])}

    async def shown_after(since: int) -> Reader:
        feed = Feed(tenant, run.thread_id)
        feed.join_together(wanted, since)
        async with reading(feed) as reader:
            await until(lambda: len(reader.joined) == 3)
        assert {joined.replayed for joined in reader.joined} == {len(reader.ids)}
        return reader

    whole = (await shown_after(0)).ids
    assert whole == [each for n in (1, 4, 7) for each in (f"{n}", f"{n + 1}", f"{n + 2}.1", f"{n + 2}.2")]
    for seen in range(1, len(whole)):
        rest = (await shown_after(cursor_of(whole[seen - 1]))).ids
        assert rest[len(rest) - len(whole) + seen :] == whole[seen:]


async def test_one_that_leaves_those_it_began_with_is_not_shown_more(tenant: Tenant, run: Run) -> None:
    for _ in range(PART_EVENTS):
        await emit(run, 1)
        await emit(run, 2, method="custom")
    feed = Feed(tenant, run.thread_id)
    feed.join_together({"one": selection(["values"]), "two": selection(["custom"])}, 0)
    methods = []
    async for part in feed.events():
        if isinstance(part, Joined):
            assert part.subscription_id == "two"
            break
        feed.leave("one")
        methods.append({event.method for event in part})
    assert methods[0] == {"values", "custom"} and set().union(*methods[1:]) == {"custom"}


async def test_equal_selections_are_rendered_once(tenant: Tenant, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is told in other words is put into them once for all."""
    told: list[bytes] = []
    method, words = events._TOLD[b"updates"]
    monkeypatch.setitem(events._TOLD, b"updates", (method, lambda data: told.append(data) or words(data)))
    feed = Feed(tenant, run.thread_id)
    feed.join_together({f"one {number}": selection(["updates"]) for number in range(5)})
    async with reading(feed) as reader:
        for number in range(5):
            feed.join(f"two {number}", selection(["updates", "values"]))
        await until(lambda: len(reader.joined) == 10)
        assert len(set(feed._streams.values())) == 2
        await emit(run, {"one": 1, "two": 2}, method="updates")
        await until(lambda: len(reader.events) == 2)
        assert len(told) == 1
        for name in [name for name in feed._streams if name != "two 3"]:
            feed.leave(name)
        await emit(run, 1)
        await until(lambda: len(reader.events) == 3)


async def test_equal_selections_of_readers_at_other_places_miss_nothing(tenant: Tenant, run: Run) -> None:
    """One of them has seen more than the feed has come to."""
    feed = feed_of(tenant, run.thread_id, selection(["custom"]), 0)
    found: list[int] = []
    async for part in feed.events():
        if part == Joined("one", 0):
            for number in range(5):
                await emit(run, number)
            feed.join("two", selection(["values"]), 4)
            feed.join("three", selection(["values"]), 0)
        elif not isinstance(part, Joined):
            found += [event.seq for event in part]
        if found[-1:] == [5]:
            break
    assert found == [1, 2, 3, 4, 5]


async def test_one_that_joins_again_begins_again(tenant: Tenant, run: Run) -> None:
    await emit(run, 1)
    feed = feed_of(tenant, run.thread_id, selection(["custom"]))
    async with reading(feed) as reader:
        await until(lambda: reader.joined)
        feed.join("one", selection(["values"]), 0)
        await until(lambda: len(reader.joined) == 2)
        await emit(run, 2, method="custom")
        await emit(run, 3)
        await until(lambda: len(reader.events) == 2)
    assert reader.seqs == [1, 3]


async def test_nothing_is_taken_from_the_log_for_nobody(tenant: Tenant, run: Run, hub: Hub) -> None:
    feed = Feed(tenant, run.thread_id)
    async with reading(feed) as reader:
        await until(lambda: hub._followers)
        (subscription,) = hub._followers[run.thread_id]
        await emit(run, 1)
        await until(lambda: subscription.muted and not subscription._bell.is_set())
        assert (reader.parts, subscription._waiting, subscription.cursor) == ([], hub_module.deque(), 0)


async def test_a_reader_that_lags_behind_reads_the_rows(tenant: Tenant, run: Run, settings: LazySettings) -> None:
    settings.FOLLOW_MAX_EVENTS = 3
    found: list[int] = []
    async for part in feed_of(tenant, run.thread_id, selection(["values"])).events():
        if isinstance(part, Joined):
            for number in range(20):
                await emit(run, number)
        else:
            found += [event.seq for event in part]
        if found[-1:] == [20]:
            break
    assert found == list(range(1, 21))


async def test_one_that_joins_does_not_wait_until_the_others_have_caught_up(tenant: Tenant, run: Run) -> None:
    feed = feed_of(tenant, run.thread_id, selection(["values"]))
    parts = []
    async for part in feed.events():
        parts.append(part)
        if isinstance(part, Joined) and part.subscription_id == "two":
            break
        if isinstance(part, Joined):
            for _ in range(PAGE + 50):
                await emit(run, 1)
        elif part[-1].seq == PAGE:
            feed.join("two", selection(["custom"]))
    assert [event.seq for part in parts if not isinstance(part, Joined) for event in part] == list(range(1, PAGE + 1))


# What comes first.


@pytest.mark.parametrize("kept", [True, False])
async def test_events_that_are_not_kept_any_more_leave_a_gap_and_the_state(
    tenant: Tenant, run: Run, kept: bool
) -> None:
    await emit(run, {"a": 1}, outcome=Outcome(RunStatus.SUCCESS, values=b'{"a":1}'))
    await in_database(EventChunk.objects.all().delete)
    if kept:
        thread = await in_database(Thread.objects.get)
        await emit(await in_database(lambda: make_run(tenant, thread, status=RunStatus.RUNNING)), {"a": 2})
    async with reading(feed_of(tenant, run.thread_id, since=1)) as reader:
        await until(lambda: reader.joined)
        assert reader.ids == (["gap.2", "state.2", "3"] if kept else ["gap.0", "state.2"])
    assert reader.data("gap") == [{"oldest": 3 if kept else None}]
    assert reader.data("values") == ([{"a": 2}] * 2 if kept else [{"a": 1}])


async def test_a_cursor_of_the_thread_that_had_the_id_before_is_not_waited_for(tenant: Tenant, run: Run) -> None:
    await emit(run, {"a": 1})
    async with reading(feed_of(tenant, run.thread_id, since=40)) as reader:
        await until(lambda: reader.joined)
        await emit(run, {"a": 2})
        await until(lambda: 2 in reader.seqs)
    assert reader.ids == ["state.0", "1", "2"]


async def test_silence_is_reported(tenant: Tenant, run: Run, settings: LazySettings) -> None:
    settings.STREAM_HEARTBEAT = 0.01
    async with reading(feed_of(tenant, run.thread_id)) as reader:
        await until(lambda: reader.parts[1:4] == [[], [], []])


async def test_silence_is_reported_while_others_are_talked_to(tenant: Tenant, run: Run, settings: LazySettings) -> None:
    settings.STREAM_HEARTBEAT = 0.1
    async with reading(feed_of(tenant, run.thread_id, selection(["tools"]))) as reader:
        async with asyncio.timeout(10):
            while reader.parts[1:] != [[], []]:
                await emit(run, 1)


# A thread that is not there.


async def test_a_thread_that_is_not_there_is_waited_for(tenant: Tenant) -> None:
    async with reading(feed_of(tenant, "later")) as reader:
        await until(lambda: reader.joined)
        assert reader.joined == [Joined("one", 0)]
        thread = await in_database(make_thread, tenant, thread_id="later")
        run = await in_database(lambda: make_run(tenant, thread, status=RunStatus.RUNNING))
        await emit(run, 1)
        await emit(run, 2)
        await until(lambda: len(reader.events) == 2)
        await end(run)
        await until(lambda: len(reader.events) == 3)
    assert reader.ids == ["1", "2", "3"]


@silent
async def test_a_thread_is_found_without_the_doorbell(tenant: Tenant) -> None:
    await test_a_thread_that_is_not_there_is_waited_for(tenant)


@pytest.mark.parametrize("since", [None, 0, 1])
async def test_who_joins_while_the_thread_is_waited_for_waits_too(tenant: Tenant, since: int | None) -> None:
    feed = feed_of(tenant, "later", selection(["values"]))
    async with reading(feed) as reader:
        await until(lambda: reader.joined)
        feed.join("two", selection(["custom"]), since)
        await until(lambda: len(reader.joined) == 2)
        thread = await in_database(make_thread, tenant, thread_id="later")
        run = await in_database(lambda: make_run(tenant, thread, status=RunStatus.RUNNING))
        await emit(run, 1, method="custom")
        await emit(run, 2)
        await until(lambda: 2 in reader.seqs)
    # Whatever they have seen, it was another thread's.
    assert reader.seqs == [1, 2]


async def test_a_thread_may_be_found_by_one_that_joins(tenant: Tenant) -> None:
    feed = feed_of(tenant, "later", selection(["values"]))
    async with reading(feed) as reader:
        await until(lambda: reader.joined)
        thread = await in_database(make_thread, tenant, thread_id="later", last_seq=0)
        run = await in_database(lambda: make_run(tenant, thread, status=RunStatus.RUNNING))
        feed.join("two", selection(["custom"]))
        await emit(run, 1)
        await emit(run, 2, method="custom")
        await until(lambda: len(set(reader.seqs)) == 2)
        await emit(run, 3)
        await until(lambda: 3 in reader.seqs)
    assert reader.seqs in ([1, 2, 3], [0, 1, 2, 3])


async def test_a_thread_of_somebody_else_is_silence(charlie: User, run: Run, hub: Hub) -> None:
    stranger = await in_database(tenant_of, charlie)
    await emit(run, 1)
    async with reading(feed_of(stranger, run.thread_id)) as reader:
        await until(lambda: reader.joined)
        (subscription,) = hub._followers[run.thread_id]
        for number in range(20):
            await emit(run, number)
            await asyncio.sleep(0.001)
            assert not subscription._waiting
        await in_database(lambda: Thread.objects.update(organization_id=stranger.organization_id, shared=True))
        await emit(run, 20)
        await until(lambda: reader.events)
        assert reader.ids[0] == "1"


async def test_a_thread_is_there_when_it_is_shared(bob: User, run: Run) -> None:
    colleague = await in_database(tenant_of, bob)
    async with reading(feed_of(colleague, run.thread_id)) as reader:
        await until(lambda: reader.joined)
        await emit(run, 1)
        await in_database(lambda: Thread.objects.update(shared=True))
        await emit(run, 2)
        await until(lambda: len(reader.events) == 2)


# Those who may not read on.


def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "ACCESS_SECONDS", 0.02)


def lose_key(user: User) -> None:
    ApiKey.objects.update(revoked_at=timezone.now())


def expire_key(user: User) -> None:
    ApiKey.objects.update(expires_at=timezone.now() - timedelta(seconds=1))


def lose_sessions(user: User) -> None:
    revoke_tokens(user)


def deactivate(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def leave_organization(user: User) -> None:
    Membership.objects.filter(user=user).delete()


def unshare(user: User) -> None:
    Thread.objects.update(shared=False)


def delete_thread(user: User) -> None:
    lifecycle.delete_thread(Thread.objects.get().pk)


def replace_thread(user: User) -> None:
    thread = Thread.objects.get()
    lifecycle.delete_thread(thread.pk)
    Purge.objects.all().delete()
    make_thread(tenant_of(user), thread_id=thread.pk, shared=True)


BY_KEY = [(lose_key, 401), (expire_key, 401)]
BY_TOKEN = [(lose_sessions, 401)]
BY_BOTH = [(deactivate, 401), (leave_organization, 403), (unshare, 404), (delete_thread, 404), (replace_thread, 404)]


@pytest.mark.parametrize(
    ("by", "lose", "status"),
    [
        *(("key", *one) for one in BY_KEY + BY_BOTH),
        *(("token", *one) for one in BY_TOKEN + BY_BOTH),
    ],
)
async def test_a_feed_ends_when_its_reader_loses_access(
    run: Run, bob: User, by: str, lose: Callable[[User], None], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched(monkeypatch)
    await in_database(lambda: Thread.objects.update(shared=True))
    if by == "key":
        key = await in_database(api_key_of, bob)
        _, tenant = await in_database(identify_by_api_key, key)
    else:
        credential = Credential("token", bob.pk, bob.token_version)
        plain = await in_database(tenant_of, bob)
        tenant = Tenant(plain.organization_id, plain.user_id, plain.permissions, credential)
    feed = feed_of(tenant, run.thread_id)
    ending = asyncio.create_task(ended(feed))
    await until(lambda: feed._streams)
    await in_database(lose, bob)
    lost = await ending
    assert isinstance(lost, AccessLost) and lost.status == status


@pytest.mark.parametrize(("lose", "status"), [(lose_key, 401), (leave_organization, 403)])
async def test_who_waits_for_a_thread_loses_access_too(
    bob: User, lose: Callable[[User], None], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched(monkeypatch)
    _, tenant = await in_database(identify_by_api_key, await in_database(api_key_of, bob))
    feed = feed_of(tenant, "unknown")
    ending = asyncio.create_task(ended(feed))
    await until(lambda: feed._streams)
    await in_database(lose, bob)
    lost = await ending
    assert isinstance(lost, AccessLost) and lost.status == status


async def test_a_reader_who_may_not_read_on_is_stopped_in_the_middle_of_a_page(tenant: Tenant, run: Run) -> None:
    await emit(run, *range(5 * PART_EVENTS))
    found: list[int] = []
    with pytest.raises(AccessLost):
        async for part in feed_of(tenant, run.thread_id, since=0).events():
            assert not isinstance(part, Joined)
            found += [event.seq for event in part]
            (reader,) = access.current_watch()._readers
            reader.refuse(401)
    assert found == list(range(1, PART_EVENTS + 1))


async def test_nobody_is_sent_away_while_the_database_does_not_answer(
    tenant: Tenant, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched(monkeypatch)
    asked = 0

    def away(*_: object) -> list[int | None]:
        nonlocal asked
        asked += 1
        raise OperationalError("away")

    monkeypatch.setattr(access, "refusals", away)
    async with reading(feed_of(tenant, run.thread_id)) as reader:
        await until(lambda: asked > 3)
        await emit(run, 1)
        await until(lambda: reader.seqs == [1])


async def test_another_thread_of_the_same_id_is_never_shown(
    run: Run, alice: User, tenant: Tenant, charlie: User, hub: Hub
) -> None:
    """Not even before the watch looks again."""
    stranger = await in_database(tenant_of, charlie)

    def replace() -> Run:
        lifecycle.delete_thread(run.thread_id)
        Purge.objects.all().delete()
        return make_run(stranger, make_thread(stranger, thread_id=run.thread_id), status=RunStatus.RUNNING)

    async with reading(feed_of(tenant, run.thread_id)) as reader:
        await until(lambda: reader.joined)
        theirs = await in_database(replace)
        (subscription,) = hub._followers[run.thread_id]
        for number in range(10):
            await emit(theirs, number)
        await until(lambda: not subscription._bell.is_set() and not subscription.behind)
    assert [event for event in reader.events if event.method == "values"] == []


@pytest.mark.parametrize("lose", [delete_thread, replace_thread])
async def test_who_joins_a_feed_whose_thread_is_gone_waits_for_no_other(
    run: Run, alice: User, tenant: Tenant, lose: Callable[[User], None]
) -> None:
    feed = feed_of(tenant, run.thread_id)
    ending = asyncio.create_task(ended(feed))
    await until(lambda: feed._streams)
    await in_database(lose, alice)
    feed.join("two", ALL)
    lost = await ending
    assert isinstance(lost, AccessLost) and lost.status == 404


@pytest.mark.parametrize("thread_id", ["there", "unknown"])
async def test_a_cut_ends_a_feed_without_an_end(tenant: Tenant, run: Run, hub: Hub, thread_id: str) -> None:
    feed = feed_of(tenant, run.thread_id if thread_id == "there" else thread_id)
    ending = asyncio.create_task(ended(feed))
    await until(lambda: feed._streams)
    hub.cut()
    assert isinstance(await ending, StreamCut)
    assert isinstance(await ended(feed_of(tenant, thread_id)), StreamCut)
    assert not hub._followers
