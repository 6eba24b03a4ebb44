"""The doorbell's ear: one for each process that serves streams.

Committed chunks come in by the Channels layer, once for the process, and go to every follower of their thread here.
The layer may drop them and the bell may stay silent: a follower that misses a chunk sees the hole, and once a second
one query for all followed threads finds what nobody announced. So nothing depends on the layer but time.
"""

import asyncio
import logging
import weakref
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from channels.layers import get_channel_layer
from django.conf import settings
from django.db import DatabaseError

from runs.database import in_database
from runs.log.read import last_seqs
from runs.records import Chunk
from runs.signals import chunks_committed

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0


class Subscription:
    """What one follower has not taken yet.

    Bounded: past FOLLOW_MAX_EVENTS or FOLLOW_MAX_BYTES the chunks are let go, and the follower, being `behind`,
    reads them from the database at its own pace.
    """

    def __init__(self, thread_id: str) -> None:
        self.thread_id = thread_id
        #: The number of the last event that the follower has; kept by the follower.
        self.cursor = 0
        self.behind = False
        self.closed = False
        self._waiting: deque[Chunk] = deque()
        self._events = 0
        self._bytes = 0
        self._bell = asyncio.Event()

    def offer(self, chunk: Chunk) -> None:
        if self.behind:
            return
        self._waiting.append(chunk)
        self._events += chunk.last_seq - chunk.first_seq + 1
        self._bytes += len(chunk.payload)
        # A single chunk is always taken, however large: it is in memory already.
        if len(self._waiting) > 1 and (
            self._events > settings.FOLLOW_MAX_EVENTS or self._bytes > settings.FOLLOW_MAX_BYTES
        ):
            self.fall_behind()
        self._bell.set()

    def fall_behind(self) -> None:
        self._drop()
        self.behind = True
        self._bell.set()

    def close(self) -> None:
        self.closed = True
        self._bell.set()

    async def wait(self, timeout: float) -> bool:
        """Wait until there is something to do; False when `timeout` seconds were silent."""
        if self._bell.is_set():
            return True
        try:
            async with asyncio.timeout(timeout):
                await self._bell.wait()
        except TimeoutError:
            return False
        return True

    def take(self) -> list[Chunk]:
        chunks = list(self._waiting)
        self._drop()
        self._bell.clear()
        return chunks

    def _drop(self) -> None:
        self._waiting.clear()
        self._events = self._bytes = 0


class Hub:
    """All followers of this process. Made by `current_hub`; lives on one event loop."""

    def __init__(self) -> None:
        self.closed = False
        self._loop = asyncio.get_running_loop()
        self._layer: Any = get_channel_layer()
        self._channel = ""
        self._followers: dict[str, set[Subscription]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._ready = asyncio.Lock()

    async def ring(self, chunks: Sequence[Chunk]) -> None:
        """Announce committed chunks to the followers of every process."""
        for chunk in chunks:
            await self._layer.group_send(_group(chunk.thread_id), {"type": "log.chunk", "chunk": list(chunk)})

    @asynccontextmanager
    async def subscription(self, thread_id: str) -> AsyncIterator[Subscription]:
        """Chunks of a thread from now on. Subscribe first, then read the rows: nothing falls between."""
        await self._start()
        subscription = Subscription(thread_id)
        followers = self._followers.setdefault(thread_id, set())
        followers.add(subscription)
        try:
            if len(followers) == 1:
                await self._layer.group_add(_group(thread_id), self._channel)
            yield subscription
        finally:
            followers.discard(subscription)
            if not followers and self._followers.get(thread_id) is followers:
                del self._followers[thread_id]
                await self._layer.group_discard(_group(thread_id), self._channel)

    def cut(self) -> None:
        """End every stream of this process without a clean end, so that clients come back to another one."""
        self.closed = True
        for followers in self._followers.values():
            for subscription in followers:
                subscription.close()

    async def stop(self) -> None:
        self.cut()
        chunks_committed.disconnect(self._on_commit)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _start(self) -> None:
        async with self._ready:
            if self._tasks:
                return
            self._channel = await self._layer.new_channel("hub")
            self._tasks = [asyncio.create_task(self._receive()), asyncio.create_task(self._poll())]
            chunks_committed.connect(self._on_commit, weak=False)

    def _on_commit(self, chunks: list[Chunk], **_: object) -> None:
        """Called in whichever thread committed."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ring_soon, chunks)

    def _ring_soon(self, chunks: list[Chunk]) -> None:
        task = self._loop.create_task(self.ring(chunks))
        task.add_done_callback(_log_failure)

    async def _receive(self) -> None:
        while True:
            message = await self._layer.receive(self._channel)
            chunk = Chunk(*message["chunk"])
            for subscription in self._followers.get(chunk.thread_id, ()):
                subscription.offer(chunk)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if not self._followers:
                continue
            try:
                numbers = await in_database(last_seqs, list(self._followers))
            except DatabaseError:
                logger.warning("the database did not answer the followers' poll", exc_info=True)
                continue
            for thread_id, followers in list(self._followers.items()):
                for subscription in followers:
                    # A deleted thread has no number; its followers look once more and end.
                    if numbers.get(thread_id, subscription.cursor + 1) > subscription.cursor:
                        subscription.fall_behind()


_hubs: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Hub]" = weakref.WeakKeyDictionary()


def current_hub() -> Hub:
    """The hub of the running event loop."""
    loop = asyncio.get_running_loop()
    hub = _hubs.get(loop)
    if hub is None:
        hub = _hubs[loop] = Hub()
    return hub


def _group(thread_id: str) -> str:
    return f"thread.{thread_id}"


def _log_failure(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()):
        logger.warning("the doorbell did not ring: %s", error)
