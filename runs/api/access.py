"""Whether those who read for long may go on: one watch for each event loop.

All its readers are asked for together every ACCESS_SECONDS, so that thousands of silent streams cost a few queries and
hold nothing. A reader that may not go on is woken at once. While the database does not answer nobody is sent away.
"""

import asyncio
import logging
import weakref
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

from django.db import Error

from accounts.tenancy import Tenant
from runs.database import in_database
from runs.log.hub import POLL_SECONDS
from runs.services.readers import Reading, arrivals, refusals

logger = logging.getLogger(__name__)

ACCESS_SECONDS = 5.0
#: However often the doorbell rings for those who wait for a thread, they look no more often than this.
_LOOK_SECONDS = 0.1


class AccessLost(Exception):
    """The reader may not read any more; `status` says why: 401, 403 or 404, as a request would be refused."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Reader:
    """One who reads a thread, or waits for one that they can see."""

    def __init__(self, watch: "Watch", tenant: Tenant, thread_id: str, wake: Callable[[], None]) -> None:
        self.tenant = tenant
        self.thread_id = thread_id
        #: Of the thread that is read.
        self.created_at: datetime | None = None
        self.waits = False
        #: The status of a refusal; None: the reader may go on.
        self.refused: int | None = None
        self._watch = watch
        self._wake = wake

    @property
    def reading(self) -> Reading:
        return Reading(self.tenant, self.thread_id, self.created_at)

    def found(self, created_at: datetime) -> None:
        """What the reader reads. Raises AccessLost when it was another thread before."""
        if self.created_at not in (None, created_at):
            raise AccessLost(404)
        self.created_at = created_at
        self.waits = False

    def wait(self) -> None:
        """Have the thread looked for from now on, and soon when this is said again: when something happened in it."""
        self.waits = True
        self._watch.look()

    def refuse(self, status: int | None) -> None:
        if status is not None and self.refused is None:
            self.refused = status
            self._wake()

    def arrive(self, created_at: datetime | None) -> None:
        """`created_at`: of the thread that was waited for, or None while it is not there."""
        if created_at is not None and self.waits:
            self.found(created_at)
            self._wake()

    def check(self) -> None:
        """Raises AccessLost."""
        if self.refused is not None:
            raise AccessLost(self.refused)


class Watch:
    """The readers of one event loop. Its tasks live as long as there is somebody to look for."""

    def __init__(self) -> None:
        self._readers: set[Reader] = set()
        #: Set when somebody who waits for a thread heard of it.
        self._rung = asyncio.Event()
        self._tasks: dict[Callable[[], Any], asyncio.Task[None]] = {}

    @contextmanager
    def reading(self, tenant: Tenant, thread_id: str, wake: Callable[[], None]) -> Iterator[Reader]:
        """Look after a reader meanwhile; `wake` is called when something changed for it."""
        reader = Reader(self, tenant, thread_id, wake)
        self._readers.add(reader)
        self._go_on(self._guard)
        try:
            yield reader
        finally:
            self._readers.discard(reader)

    def look(self) -> None:
        """Look for the threads that are waited for."""
        self._rung.set()
        self._go_on(self._await_threads)

    def _go_on(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = self._tasks.get(work)
        if task is None or task.done():
            self._tasks[work] = asyncio.get_running_loop().create_task(work())

    async def _guard(self) -> None:
        while self._readers:
            await asyncio.sleep(ACCESS_SECONDS)
            asked = list(self._readers)
            try:
                found = await in_database(refusals, [reader.reading for reader in asked])
            except Error as exc:
                logger.warning("the database did not say who may read on: %s", exc)
                continue
            for reader, status in zip(asked, found, strict=True):
                reader.refuse(status)

    async def _await_threads(self) -> None:
        while asked := self._waiting():
            self._rung.clear()
            try:
                found = await in_database(arrivals, [reader.reading for reader in asked])
            except Error as exc:
                logger.warning("the database did not say which threads are there: %s", exc)
                found = []
            for reader, created_at in zip(asked, found, strict=False):
                reader.arrive(created_at)
            await asyncio.sleep(_LOOK_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._rung.wait()

    def _waiting(self) -> list[Reader]:
        return [reader for reader in self._readers if reader.waits]


_watches: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Watch]" = weakref.WeakKeyDictionary()


def current_watch() -> Watch:
    """The watch of the running event loop."""
    loop = asyncio.get_running_loop()
    watch = _watches.get(loop)
    if watch is None:
        watch = _watches[loop] = Watch()
    return watch
