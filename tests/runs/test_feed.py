"""The feed of a thread's events: replay and live without a seam, for many subscriptions."""

import asyncio
import random
from typing import Any

import pytest
from django.conf import LazySettings

from accounts.tenancy import Tenant
from runs import lifecycle
from runs.api import feed as feed_module
from runs.api.feed import Feed, Joined
from runs.api.parts import PART_EVENTS
from runs.database import in_database
from runs.lifecycle import Outcome
from runs.log import Hub
from runs.log import hub as hub_module
from runs.log.read import PAGE
from runs.models import EventChunk, Run, Thread
from runs.protocol import events
from runs.protocol.selection import selection
from runs.protocol.subscriptions import cursor_of
from runs.records import unpack
from runs.states import CancelAction, RunStatus
from tests.appending import emit, end
from tests.factories import chunks_of, make_run
from tests.fakes import LAYERS
from tests.runs.feeds import ALL, Reader, feed_of, reading, until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("hub", "layer")]


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
    method, channel, words = events._TOLD[b"updates"]
    monkeypatch.setitem(events._TOLD, b"updates", (method, channel, lambda data: told.append(data) or words(data)))
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
