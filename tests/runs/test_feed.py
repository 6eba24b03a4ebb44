"""The feed of a thread's events: replay and live without a seam, for many subscriptions, as long as they may read."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
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
from runs.database import in_database
from runs.lifecycle import Outcome, Write
from runs.log import Hub, StreamCut
from runs.log import hub as hub_module
from runs.models import EventChunk, Purge, Run, Thread
from runs.protocol.events import Event
from runs.protocol.selection import Selection, selection
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
        return [orjson.loads(event.body)["event_id"] for event in self.events]

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
