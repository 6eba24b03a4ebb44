"""Ten thousand subscriptions that begin at random moments of a fast run: not one misses an event."""

import asyncio
import importlib
import random
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.conf import LazySettings

from accounts.tenancy import Tenant
from runs.api import access
from runs.api import feed as feed_module
from runs.api.feed import Feed, Joined
from runs.identifiers import new_id
from runs.log import Hub, read
from runs.log import hub as hub_module
from runs.protocol.selection import Selection, selection
from runs.records import Chunk, pack, record
from runs.services.subscriptions import Start

THREAD = "thread"
READERS = 100
JOINS = 10_000 // READERS
#: A subscription has gone live when it has seen so many events after it joined.
LIVE = 3
NEVER = 60.0


class Log:
    """A thread's log in memory, whose rows come a while after they were asked for."""

    def __init__(self, chance: random.Random) -> None:
        self.chunks: list[Chunk] = []
        self.last_seqs: list[int] = []
        self._chance = chance
        self._created_at = datetime.now(UTC)

    @property
    def last_seq(self) -> int:
        return self.last_seqs[-1] if self.last_seqs else 0

    def append(self, events: int) -> Chunk:
        records = [record("values", number) for number in range(events)]
        first = self.last_seq + 1
        chunk = Chunk(THREAD, "run", first, first + events - 1, pack(records))
        self.chunks.append(chunk)
        self.last_seqs.append(chunk.last_seq)
        return chunk

    async def in_database(self, function: Callable[..., Any], *args: Any) -> Any:
        await self.breathe()
        answer = function(*args)
        await self.breathe()
        return answer

    async def breathe(self) -> None:
        for _ in range(self._chance.randrange(4)):
            await asyncio.sleep(0)

    def read(self, tenant: Tenant, thread_id: str, created_at: datetime, after: int, limit: int) -> list[Chunk]:
        first = bisect_right(self.last_seqs, after)
        return self.chunks[first : first + limit]

    def start_of(self, tenant: Tenant, thread_id: str, wanted: Selection, since: int | None) -> Start:
        return Start(self._created_at, self.last_seq, since or 0, since or 0)


@pytest.fixture
def chance() -> random.Random:
    return random.Random(5)


@pytest.fixture
def log(chance: random.Random, monkeypatch: pytest.MonkeyPatch, settings: LazySettings) -> Log:
    log = Log(chance)
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 10000}}
    }
    settings.FOLLOW_MAX_EVENTS = 40
    # The name of the module in its package is that of its function.
    follow_module = importlib.import_module("runs.log.follow")
    for module in (feed_module, hub_module, follow_module):
        monkeypatch.setattr(module, "in_database", log.in_database)
    for module in (read, follow_module):
        monkeypatch.setattr(module, "PAGE", 10)
    monkeypatch.setattr(hub_module, "POLL_SECONDS", NEVER)
    monkeypatch.setattr(access, "ACCESS_SECONDS", NEVER)
    monkeypatch.setattr(feed_module, "read_visible_after", log.read)
    monkeypatch.setattr(feed_module, "start_of", log.start_of)
    return log


async def write(log: Log, hub: Hub, chance: random.Random) -> None:
    """A thousand events a second, and sometimes many at once."""
    while True:
        await hub.ring([log.append(chance.choice((1, 1, 1, 2, 15)))])
        await asyncio.sleep(0.001)


async def joins(log: Log, chance: random.Random) -> None:
    feed = Feed(Tenant(new_id(), new_id(), frozenset()), THREAD)
    since = _join(feed, log, chance)
    found: list[int] = []
    done, live = 0, -1
    async for part in feed.events():
        if isinstance(part, Joined):
            live = len(found)
            continue
        found += [event.seq for event in part]
        if 0 <= live <= len(found) - LIVE:
            assert found == list(range(since + 1, found[-1] + 1))
            done += 1
            if done == JOINS:
                return
            await log.breathe()
            since, found, live = _join(feed, log, chance), [], -1


def _join(feed: Feed, log: Log, chance: random.Random) -> int:
    since = chance.randint(max(0, log.last_seq - 30), log.last_seq)
    feed.join("one", selection(["values"]), since)
    return since


@pytest.fixture
async def writer(log: Log, hub: Hub, chance: random.Random) -> AsyncIterator[None]:
    writing = asyncio.create_task(write(log, hub, chance))
    yield
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)


@pytest.mark.usefixtures("writer")
async def test_nothing_is_missing_whenever_one_joins(log: Log, chance: random.Random) -> None:
    async with asyncio.timeout(120):
        await asyncio.gather(*(joins(log, chance) for _ in range(READERS)))
