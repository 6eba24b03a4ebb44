"""Readers of the feed of a thread's events."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson

from accounts.tenancy import Tenant
from runs.api.feed import AccessLost, Feed, Joined
from runs.log import StreamCut
from runs.protocol.events import Event
from runs.protocol.selection import Selection, selection

#: So long that a test which waits for it fails.
NEVER = 60.0
ALL = selection(["values", "lifecycle", "custom", "updates"])


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
