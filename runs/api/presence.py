"""Who reads which run, and the end of runs that were to end with their readers.

Readers may sit on any server of a cluster, and one that lost its connection may come back to another one: before a
server ends a run for want of readers, it asks the others.
"""

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import Coroutine
from typing import Any

from django.conf import settings
from django.db import Error

from runs import lifecycle
from runs.database import in_database, in_database_at_last
from runs.log import current_hub
from runs.models import Run
from runs.news import tell
from runs.signals import readers_found, readers_sought
from runs.states import CancelAction

logger = logging.getLogger(__name__)

#: How long the other servers have to say that they have readers.
_ANSWER_SECONDS = 1.0

#: How many read each run here.
_readers: Counter[uuid.UUID] = Counter()
#: Runs that are to end when nobody reads them any more.
_abandoned: set[uuid.UUID] = set()
#: Runs whose readers on other servers are asked for.
_sought: dict[uuid.UUID, asyncio.Event] = {}
_tasks: set[asyncio.Task[None]] = set()


def arrive(run_id: uuid.UUID) -> None:
    """A reader begins to read here."""
    _readers[run_id] += 1


def leave(run_id: uuid.UUID, thread_id: str, *, early: bool, takes_run_along: bool) -> None:
    """A reader leaves, `early` if the run goes on. The last one takes the run along if any reader before it was to."""
    _readers[run_id] -= 1
    if early and takes_run_along:
        _abandoned.add(run_id)
    if _readers[run_id]:
        return
    del _readers[run_id]
    if not early:
        _abandoned.discard(run_id)
    elif run_id in _abandoned:
        _spawn(_cancel_unless_read(run_id, thread_id))


async def _cancel_unless_read(run_id: uuid.UUID, thread_id: str) -> None:
    """A reader that only lost its connection is back sooner than DISCONNECT_GRACE."""
    await asyncio.sleep(settings.DISCONNECT_GRACE)
    if current_hub().closed or _readers[run_id]:
        return
    try:
        if await _is_read_elsewhere(run_id) or current_hub().closed or _readers[run_id]:
            return
        _abandoned.discard(run_id)
        await in_database_at_last(lifecycle.request_cancel, run_id, thread_id, CancelAction.INTERRUPT)
    except Run.DoesNotExist:
        pass
    except Error:
        logger.exception("run %s could not be cancelled after its reader left", run_id)


async def _is_read_elsewhere(run_id: uuid.UUID) -> bool:
    """Whether another server has readers of the run; what becomes of it is that one's affair then."""
    if not settings.POSTGRES:
        return False
    found = _sought.setdefault(run_id, asyncio.Event())
    try:
        await in_database_at_last(tell, readers_sought, str(run_id))
        async with asyncio.timeout(_ANSWER_SECONDS):
            await found.wait()
    except TimeoutError:
        return False
    finally:
        _sought.pop(run_id, None)
    if not _readers[run_id]:
        # Otherwise it may have been this server's own answer, and its readers take the run along.
        _abandoned.discard(run_id)
    return True


def _on_sought(about: str, **_: object) -> None:
    run_id = uuid.UUID(about)
    if _readers[run_id]:
        _abandoned.add(run_id)
        _spawn(_answer(about))


async def _answer(about: str) -> None:
    try:
        await in_database(tell, readers_found, about)
    except Error:
        logger.exception("the servers could not be told that run %s has readers here", about)


def _on_found(about: str, **_: object) -> None:
    if found := _sought.get(uuid.UUID(about)):
        found.set()


def _spawn(coroutine: Coroutine[Any, Any, None]) -> None:
    task = asyncio.get_running_loop().create_task(coroutine)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


readers_sought.connect(_on_sought)
readers_found.connect(_on_found)
