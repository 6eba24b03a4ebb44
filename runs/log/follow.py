"""Following a log: replay, then live, in one call and without a seam."""

import asyncio
import logging
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing

from django.db import InterfaceError, OperationalError

from runs.database import in_database, in_database_at_last
from runs.log.hub import POLL_SECONDS, Subscription, current_hub
from runs.log.read import PAGE, read_after, read_run_after
from runs.models import Run
from runs.records import Chunk
from runs.states import TERMINAL

logger = logging.getLogger(__name__)


class StreamCut(Exception):
    """This process stops serving streams; the reader is to come back with its cursor."""


async def follow(thread_id: str, after: int, *, silence: float) -> AsyncGenerator[list[Chunk]]:
    """Every chunk of a thread with an event above `after`, in order, without end.

    An empty list is yielded after each `silence` seconds without one. Raises StreamCut when the process drains.
    """
    hub = current_hub()
    now = asyncio.get_running_loop().time
    async with hub.subscription(thread_id) as subscription:
        subscription.cursor = after
        subscription.behind = True
        heard = now()
        while True:
            if hub.closed:
                raise StreamCut
            if subscription.behind:
                subscription.take()
                subscription.behind = False
                async for chunks in _catch_up(subscription):
                    yield chunks
                    heard = now()
            # A bell that brings nothing does not end the silence.
            if await subscription.wait(heard + silence - now()):
                chunks = _continue(subscription, subscription.take())
                if chunks:
                    yield chunks
                    heard = now()
            else:
                yield []
                heard = now()


async def _catch_up(subscription: Subscription) -> AsyncGenerator[list[Chunk]]:
    while True:
        try:
            chunks = await in_database(read_after, subscription.thread_id, subscription.cursor)
        except (OperationalError, InterfaceError) as exc:
            # The reader waits for the database, and is shown that its connection lives. The hub tells of the outage.
            logger.debug("the log of thread %s can not be read; trying again: %s", subscription.thread_id, exc)
            yield []
            await asyncio.sleep(POLL_SECONDS)
            continue
        if chunks:
            subscription.cursor = chunks[-1].last_seq
            yield chunks
        if len(chunks) < PAGE:
            return


def _continue(subscription: Subscription, chunks: list[Chunk]) -> list[Chunk]:
    """Those chunks that go on from the cursor; at a hole the subscription falls behind."""
    going_on = []
    for chunk in chunks:
        if chunk.last_seq <= subscription.cursor:
            continue
        if chunk.first_seq > subscription.cursor + 1:
            subscription.fall_behind()
            break
        going_on.append(chunk)
        subscription.cursor = chunk.last_seq
    return going_on


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
    while True:
        chunks = await in_database_at_last(read_run_after, run_id, after)
        if chunks:
            yield chunks
            after = chunks[-1].last_seq
        if len(chunks) < PAGE:
            return


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
