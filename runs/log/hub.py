"""The doorbell's ear: one for each process that serves streams.

Committed chunks come in by the Channels layer, once for the process, and go to every follower of their thread here.
The layer may drop them and the bell may stay silent: a follower that misses a chunk sees the hole, and once a second
one query for all followed threads finds what nobody announced. So nothing depends on the layer but time.
"""

import asyncio
import logging
import weakref
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from channels.layers import get_channel_layer
from django.conf import settings
from django.db import Error

from runs.database import in_database
from runs.log.read import last_seqs
from runs.records import Chunk
from runs.signals import chunks_committed

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
#: How long the layer may take for an answer, and how long it is left alone when it took longer or failed.
_LAYER_SECONDS = 1.0
_REST_SECONDS = 1.0


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
        #: A muted follower takes no chunks; it is only woken when there are some.
        self.muted = False
        self.closed = False
        self._waiting: deque[Chunk] = deque()
        self._events = 0
        self._bytes = 0
        self._bell = asyncio.Event()

    def offer(self, chunk: Chunk) -> None:
        if self.muted:
            self.wake()
        elif not self.behind:
            self._keep(chunk)

    def _keep(self, chunk: Chunk) -> None:
        self._waiting.append(chunk)
        self._events += chunk.last_seq - chunk.first_seq + 1
        self._bytes += len(chunk.payload)
        # A single chunk is always taken, however large: it is in memory already.
        if len(self._waiting) > 1 and (
            self._events > settings.FOLLOW_MAX_EVENTS or self._bytes > settings.FOLLOW_MAX_BYTES
        ):
            self.fall_behind()
        self.wake()

    def wake(self) -> None:
        """Have the follower look around."""
        self._bell.set()

    def mute(self) -> None:
        self._drop()
        self.behind = False
        self.muted = True

    def fall_behind(self) -> None:
        self._drop()
        self.behind = True
        self.wake()

    def close(self) -> None:
        """The follower is to end."""
        self.closed = True
        self.wake()

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
    """All followers of this process. Made by `current_hub`; lives on one event loop.

    The layer may fail, hang and come back: then nothing is heard, and the poll finds everything.
    """

    def __init__(self) -> None:
        self.closed = False
        self._loop = asyncio.get_running_loop()
        self._layer: Any = get_channel_layer()
        self._channel = ""
        self._followers: dict[str, set[Subscription]] = {}
        #: The threads whose group this process is in.
        self._joined: set[str] = set()
        #: Groups that this process may be in, whether or not anybody follows their threads any more.
        self._to_leave: set[str] = set()
        #: Until then the layer is left alone, by the loop's clock.
        self._layer_rests_until = 0.0
        self._layer_is_away = False
        self._tasks: list[asyncio.Task[None]] = []
        self._ready = asyncio.Lock()

    async def ring(self, chunks: Sequence[Chunk]) -> None:
        """Announce committed chunks to the followers of every process."""
        for chunk in chunks:
            message = {"type": "log.chunk", "chunk": list(chunk)}
            await self._ask_layer(partial(self._layer.group_send, _group(chunk.thread_id), message))

    @asynccontextmanager
    async def subscription(self, thread_id: str) -> AsyncIterator[Subscription]:
        """Chunks of a thread from now on. Subscribe first, then read the rows: nothing falls between."""
        await self.start()
        subscription = Subscription(thread_id)
        followers = self._followers.setdefault(thread_id, set())
        followers.add(subscription)
        try:
            if len(followers) == 1:
                await self._join(thread_id)
            yield subscription
        finally:
            followers.discard(subscription)
            if not followers and self._followers.get(thread_id) is followers:
                del self._followers[thread_id]
                await self._leave(thread_id)

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

    async def start(self) -> None:
        """Announce from now on what this process commits, and listen."""
        async with self._ready:
            if self._tasks:
                return
            await self._open_channel()
            self._tasks = [asyncio.create_task(self._receive()), asyncio.create_task(self._poll())]
            chunks_committed.connect(self._on_commit, weak=False)

    # The layer.

    async def _ask_layer(self, question: Callable[[], Awaitable[Any]]) -> Any:
        """What the layer answers, or None when it does not. It is not asked again for a while then."""
        if self._loop.time() < self._layer_rests_until:
            return None
        try:
            async with asyncio.timeout(_LAYER_SECONDS):
                # Answers that bring nothing, as those of the group's doings, are True here.
                answer = (await question()) or True
        except Exception as exc:  # whatever a layer raises: nothing but time depends on it
            self._layer_rests_until = self._loop.time() + _REST_SECONDS
            if not self._layer_is_away:
                # Its words may repeat the address that it was given.
                logger.warning("the doorbell is out of order, followers look by themselves: %s", type(exc).__name__)
            self._layer_is_away = True
            return None
        if self._layer_is_away:
            logger.warning("the doorbell works again")
        self._layer_is_away = False
        return answer

    async def _open_channel(self) -> None:
        self._channel = await self._ask_layer(partial(self._layer.new_channel, "hub")) or ""

    async def _join(self, thread_id: str) -> None:
        if not self._channel:
            return
        # It may be done though nobody hears that it is.
        self._to_leave.add(thread_id)
        if await self._ask_layer(partial(self._layer.group_add, _group(thread_id), self._channel)):
            self._joined.add(thread_id)
            self._to_leave.add(thread_id)
        if thread_id not in self._followers:
            # They left while the layer was asked.
            await self._leave(thread_id)

    async def _leave(self, thread_id: str) -> None:
        self._joined.discard(thread_id)
        if thread_id not in self._to_leave or thread_id in self._followers:
            return
        if await self._ask_layer(partial(self._layer.group_discard, _group(thread_id), self._channel)):
            self._to_leave.discard(thread_id)

    async def _receive(self) -> None:
        while True:
            if not self._channel:
                await asyncio.sleep(POLL_SECONDS)
                await self._open_channel()
                continue
            try:
                message = await self._layer.receive(self._channel)
            except Exception as exc:  # as above
                logger.warning("the doorbell can not be heard: %s", type(exc).__name__)
                self._channel = ""
                self._joined.clear()
                self._to_leave.clear()
                continue
            chunk = Chunk(*message["chunk"])
            for subscription in self._followers.get(chunk.thread_id, ()):
                subscription.offer(chunk)

    def _on_commit(self, chunks: list[Chunk], **_: object) -> None:
        """Called in whichever thread committed."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ring_soon, chunks)

    def _ring_soon(self, chunks: list[Chunk]) -> None:
        task = self._loop.create_task(self.ring(chunks))
        task.add_done_callback(_log_failure)

    # The poll.

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            for thread_id in [thread_id for thread_id in self._followers if thread_id not in self._joined]:
                await self._join(thread_id)
            for thread_id in self._to_leave - self._followers.keys():
                await self._leave(thread_id)
            if not self._followers:
                continue
            try:
                numbers = await in_database(last_seqs, list(self._followers))
            except Error as exc:
                logger.warning("the database did not answer the followers' poll: %s", exc)
                continue
            self._compare(numbers)

    def _compare(self, numbers: dict[str, int]) -> None:
        """Have those who missed something read it."""
        for thread_id, followers in list(self._followers.items()):
            for subscription in followers:
                # A deleted thread has no number; its followers look once more and end.
                if not subscription.muted and numbers.get(thread_id, subscription.cursor + 1) > subscription.cursor:
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
