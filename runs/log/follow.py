"""Following a log: replay, then live, in one call and without a seam."""

import asyncio
import logging
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial

from django.db import InterfaceError, OperationalError

from runs.database import in_database, in_database_at_last
from runs.log.hub import POLL_SECONDS, Subscription, current_hub
from runs.log.read import PAGE, follows, read_after, read_run_after
from runs.models import Run
from runs.records import Chunk
from runs.states import TERMINAL

logger = logging.getLogger(__name__)


class StreamCut(Exception):
    """This process stops serving streams; the reader is to come back with its cursor."""


#: Reads the page after a number with a limit, as `read_after` does of a thread.
Read = Callable[[int, int], list[Chunk]]


async def follow(thread_id: str, after: int, *, silence: float) -> AsyncGenerator[list[Chunk]]:
    """Every chunk of a thread with an event above `after`, in order, without end.

    An empty list is yielded after each `silence` seconds without one. Raises StreamCut when the process drains.
    """
    async with (
        current_hub().subscription(thread_id) as subscription,
        aclosing(Follower(subscription).follow(after, silence=silence)) as found,
    ):
        async for chunks in found:
            yield chunks


class Follower:
    """How a subscription goes on in its log: from the rows where it is behind, then with what comes in."""

    def __init__(self, subscription: Subscription, read: Read | None = None) -> None:
        """`read`: for a reader who may not read every row that the thread's id may come to have.

        A run whose events come in is not known to it before it has read some of them by `read`.
        """
        self.subscription = subscription
        self.read = read or partial(read_after, subscription.thread_id)
        self._knows_all = read is None
        self._run_id = ""

    async def follow(self, after: int, *, silence: float) -> AsyncGenerator[list[Chunk]]:
        """As the function `follow`; it ends when its subscription is closed."""
        hub, subscription = current_hub(), self.subscription
        now = asyncio.get_running_loop().time
        self.begin(after)
        heard = now()
        while True:
            if hub.closed:
                raise StreamCut
            if subscription.closed:
                return
            if subscription.behind:
                async for chunks in self.catch_up():
                    yield chunks
                    heard = now()
            # A bell that brings nothing does not end the silence.
            if await subscription.wait(heard + silence - now()):
                chunks = self.take()
                if chunks:
                    yield chunks
                    heard = now()
            else:
                yield []
                heard = now()

    def begin(self, after: int) -> None:
        """Go on after this number."""
        self.subscription.cursor = after
        self.subscription.muted = False
        self.subscription.fall_behind()

    async def catch_up(self) -> AsyncGenerator[list[Chunk]]:
        """The rows after the cursor, page by page; what comes in meanwhile is kept for `take`."""
        self.subscription.take()
        self.subscription.behind = False
        async with aclosing(pages(self.read, self.subscription.cursor)) as found:
            async for chunks in found:
                if chunks:
                    self._reached(chunks[-1])
                yield chunks

    def take(self) -> list[Chunk]:
        """Those chunks that came in and go on from the cursor; at a hole the subscription falls behind."""
        going_on = []
        for chunk in self.subscription.take():
            if chunk.last_seq <= self.subscription.cursor:
                continue
            if chunk.first_seq > self.subscription.cursor + 1 or not self._knows(chunk):
                self.subscription.fall_behind()
                break
            going_on.append(chunk)
            self._reached(chunk)
        return going_on

    def _reached(self, chunk: Chunk) -> None:
        self.subscription.cursor = chunk.last_seq
        self._run_id = chunk.run_id

    def _knows(self, chunk: Chunk) -> bool:
        return self._knows_all or chunk.run_id == self._run_id


async def pages(read: Read, after: int) -> AsyncGenerator[list[Chunk]]:
    """The rows after a number that are there now; an empty list each time the database does not answer."""
    limit = PAGE
    while limit:
        try:
            chunks = await in_database(read, after, limit)
        except (OperationalError, InterfaceError) as exc:
            # The reader waits for the database, and is shown that its connection lives. The hub tells of the outage.
            logger.debug("a log can not be read; trying again: %s", exc)
            yield []
            await asyncio.sleep(POLL_SECONDS)
            continue
        if chunks:
            after = chunks[-1].last_seq
            yield chunks
        limit = follows(chunks, limit)


async def follow_run(thread_id: str, run_id: uuid.UUID, after: int, *, silence: float) -> AsyncGenerator[list[Chunk]]:
    """The chunks of one run above `after`, up to the one with its `end`; empty lists as `follow` yields them.

    It ends without an `end` when the run was deleted, or is over and its last events are not kept any more.
    """
    wanted = str(run_id)
    now = asyncio.get_running_loop().time
    heard = now()
    async with aclosing(follow(thread_id, after, silence=silence)) as found:
        async for chunks in found:
            mine = [chunk for chunk in chunks if chunk.run_id == wanted]
            if mine:
                after = mine[-1].last_seq
                yield mine
                heard = now()
                if ends(mine[-1]):
                    return
            elif not chunks or now() - heard >= silence:
                if await _is_over(run_id):
                    break
                yield []
                heard = now()
    async for chunks in read_run(run_id, after):
        yield chunks


async def read_run(run_id: uuid.UUID, after: int) -> AsyncGenerator[list[Chunk]]:
    """The chunks of a run above `after` that the log has now."""
    limit = PAGE
    while limit:
        chunks = await in_database_at_last(read_run_after, run_id, after, limit)
        if chunks:
            yield chunks
            after = chunks[-1].last_seq
        limit = follows(chunks, limit)


def ends(chunk: Chunk) -> bool:
    """Whether the chunk holds its run's last event."""
    return chunk.payload.rsplit(b"\n", 2)[-2].startswith(b"end ")


async def _is_over(run_id: uuid.UUID) -> bool:
    """As `is_over`; False while the database does not answer."""
    try:
        return await in_database(is_over, run_id)
    except (OperationalError, InterfaceError):
        return False


def is_over(run_id: uuid.UUID) -> bool:
    """Whether a run appends nothing more, because it ended or was deleted."""
    status = Run.objects.filter(run_id=run_id).values_list("status", flat=True).first()
    return status is None or status in TERMINAL
