"""Answers that live as long as a run: its stream, and waiting for its end.

A live answer holds no thread and no database connection while it waits: see `deerflow_site.handler`.
"""

import asyncio
import logging
import uuid
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import chain
from typing import Any, Self

import orjson
from django.conf import settings
from django.http import StreamingHttpResponse

from accounts.tenancy import Tenant
from runs.api import presence
from runs.api.access import current_watch
from runs.api.feed import AccessLost, Feed, Joined
from runs.database import in_database_at_last
from runs.log import (
    Follower,
    StreamCut,
    current_hub,
    follow_run,
    oldest_seq,
    read_run,
    read_visible_after,
    start_of_runs_at,
)
from runs.models import Run, Thread
from runs.protocol.classic import STREAM_MODES, ClassicStream
from runs.protocol.events import sse
from runs.protocol.selection import Selection
from runs.protocol.sse import CONTENT_TYPE, HEARTBEAT, frame
from runs.protocol.thread_stream import ThreadStream
from runs.records import Chunk, heads_and_data
from runs.services.runs import Settled, settled
from runs.states import TERMINAL, RunStatus

logger = logging.getLogger(__name__)

#: What keeps a connection alive on which JSON is still to come: white space.
_NEWLINE = b"\n"

_EVENTS = f"{CONTENT_TYPE}; charset=utf-8"

#: The name of the subscription of a stream that has one.
_ONLY = "only"

#: The part of STREAM_HEARTBEAT after which a reader is told that the connection lives. Clocks of loops are coarse.
_SILENT = 0.9


class LiveResponse(StreamingHttpResponse):
    """A response whose parts come as things happen; empty ones are not sent.

    When its reader goes away, `parts` is closed at once.
    """

    def __init__(self, parts: AsyncGenerator[bytes], **kwargs: Any) -> None:
        super().__init__(parts, **kwargs)
        self.parts = parts


@dataclass(frozen=True, slots=True)
class _Followed:
    """What a live answer keeps of its run; the row itself holds a whole request."""

    run_id: uuid.UUID
    thread_id: str
    after_seq: int
    over: bool
    #: Whether the log has its messages as content blocks.
    in_blocks: bool

    @classmethod
    def of(cls, run: Run) -> Self:
        in_blocks = bool(run.kwargs.get("event_streaming"))
        return cls(run.run_id, run.thread_id, run.after_seq, run.status in TERMINAL, in_blocks)


def stream_response(
    run: Run, modes: Iterable[str] | None = None, *, after: int | None = None, cancel_on_disconnect: bool = False
) -> LiveResponse:
    """The run's events above `after` (None: from its first) as Server-Sent Events, to its end.

    Without `modes`: in those that the run records.
    """
    followed = _Followed.of(run)
    frames = _frames(followed, tuple(modes or STREAM_MODES.intersection(run.kwargs["stream_mode"])), after)
    return _live(followed, frames, HEARTBEAT, _EVENTS, cancel_on_disconnect=cancel_on_disconnect)


def wait_response(run: Run, *, cancel_on_disconnect: bool = False) -> LiveResponse:
    """The run's final values as JSON, after white space that keeps the connection alive.

    The status is sent before the outcome is known: a failed run is `{"__error__": {error, message}, …}`.
    """
    followed = _Followed.of(run)
    outcome = _outcome(followed)
    return _live(followed, outcome, _NEWLINE, "application/json", cancel_on_disconnect=cancel_on_disconnect)


def _live(
    run: _Followed, parts: AsyncGenerator[bytes], sign: bytes, content_type: str, *, cancel_on_disconnect: bool
) -> LiveResponse:
    attended = _attended(run, parts, sign, cancel_on_disconnect=cancel_on_disconnect)
    return _uncached(LiveResponse(attended, content_type=content_type))


def _uncached(response: LiveResponse) -> LiveResponse:
    response["Cache-Control"] = "no-cache, no-transform"
    response["X-Accel-Buffering"] = "no"
    return response


def thread_response(tenant: Tenant, thread: Thread, modes: Iterable[str], *, after: int) -> LiveResponse:
    """The events of a thread above `after`, of all its runs, as Server-Sent Events, while the tenant may read it."""
    frames = _thread_frames(tenant, thread.pk, thread.created_at, tuple(modes), after)
    return _uncached(LiveResponse(_with_signs(frames, HEARTBEAT), content_type=_EVENTS))


def events_response(tenant: Tenant, thread_id: str, selection: Selection, since: int | None) -> LiveResponse:
    """What a subscription to the events of a thread brings, while the tenant may read it."""
    feed = Feed(tenant, thread_id)
    feed.join(_ONLY, selection, since)
    return _uncached(LiveResponse(_event_frames(feed), content_type=_EVENTS))


def ended_response(run: Run) -> LiveResponse:
    """204, sent when the run has ended."""
    response = LiveResponse(_silence(_Followed.of(run)), status=204)
    del response["Content-Type"]
    return response


async def _silence(run: _Followed) -> AsyncGenerator[bytes]:
    async with aclosing(_chunks(run, run.after_seq)) as found:
        async for _ in found:
            yield b""


async def _attended(
    run: _Followed, parts: AsyncGenerator[bytes], sign: bytes, *, cancel_on_disconnect: bool
) -> AsyncGenerator[bytes]:
    """Pass the parts on; if the reader leaves before the end, the run may be cancelled for want of readers."""
    here = True
    presence.arrive(run.run_id)
    try:
        async with aclosing(_with_signs(parts, sign)) as spoken:
            async for part in spoken:
                yield part
        here = False
    except StreamCut:
        here = False
        raise
    finally:
        presence.leave(run.run_id, run.thread_id, early=here, takes_run_along=cancel_on_disconnect)


async def _with_signs(parts: AsyncGenerator[bytes], sign: bytes) -> AsyncGenerator[bytes]:
    """The parts that are something for this reader; in a silence an empty one becomes `sign`."""
    now = asyncio.get_running_loop().time
    spoke = now()
    async with aclosing(parts):
        async for part in parts:
            if part or now() - spoke > _SILENT * settings.STREAM_HEARTBEAT:
                spoke = now()
                yield part or sign


async def _thread_frames(
    tenant: Tenant, thread_id: str, created_at: datetime, modes: Iterable[str], after: int
) -> AsyncGenerator[bytes]:
    stream = ThreadStream(modes, after)
    # Whole messages are added up from the first event of their run.
    start = await in_database_at_last(start_of_runs_at, thread_id, after)
    read = partial(read_visible_after, tenant, thread_id, created_at)
    async with current_hub().subscription(thread_id) as subscription:
        follower = Follower(subscription, read)
        with current_watch().reading(tenant, thread_id, subscription.close) as reader:
            reader.found(created_at)
            # As in `_event_frames`.
            yield HEARTBEAT
            async with aclosing(follower.follow(start, silence=settings.STREAM_HEARTBEAT)) as found:
                async for chunks in found:
                    if reader.refused:
                        return
                    yield b"".join(map(stream.render, chunks))


async def _event_frames(feed: Feed) -> AsyncGenerator[bytes]:
    async with aclosing(feed.events()) as found:
        with suppress(AccessLost):
            async for part in found:
                if not isinstance(part, Joined):
                    yield sse(part) or HEARTBEAT
                elif not part.replayed:
                    # The head of the answer, which a client waits for, goes with its first bytes.
                    yield HEARTBEAT


def _chunks(run: _Followed, after: int) -> AsyncGenerator[list[Chunk]]:
    if run.over:
        return read_run(run.run_id, after)
    return follow_run(run.thread_id, run.run_id, after, silence=settings.STREAM_HEARTBEAT)


async def _frames(run: _Followed, modes: Iterable[str], after: int | None) -> AsyncGenerator[bytes]:
    cursor = run.after_seq if after is None else max(after, run.after_seq)
    stream = ClassicStream(modes, cursor, in_blocks=run.in_blocks)
    if run.over and await in_database_at_last(oldest_seq, run.run_id) is None:
        yield stream.gap(None) + await _last_values(run) + stream.close()
        return
    start = run.after_seq if stream.needs_history else cursor
    async with aclosing(_chunks(run, start)) as found:
        async for chunks in found:
            yield b"".join(map(stream.render, chunks))
    yield stream.close()


async def _last_values(run: _Followed) -> bytes:
    """The state of the thread, for a reader of events that are not kept any more."""
    left = await in_database_at_last(settled, run.run_id)
    return frame("values", orjson.dumps(left.values if left else None))


async def _outcome(run: _Followed) -> AsyncGenerator[bytes]:
    values: bytes | None = None
    status: str | None = None
    async with aclosing(_chunks(run, run.after_seq)) as found:
        async for chunks in found:
            yield b""
            for method, namespace, data in chain.from_iterable(map(heads_and_data, chunks)):
                if method == b"values" and namespace == b"[]":
                    values = data
                elif method == b"end":
                    status = orjson.loads(data)["status"]
    if status == RunStatus.SUCCESS and values is not None:
        yield values
    else:
        yield _settled_json(await in_database_at_last(settled, run.run_id))


def _settled_json(left: Settled | None) -> bytes:
    if left is None:
        left = Settled(RunStatus.ERROR, {"error": "NotFound", "message": "The run was deleted."}, None)
    if left.error:
        return orjson.dumps({"__error__": left.error, "status": "error", "error": left.error["message"]})
    return orjson.dumps(left.values)
