"""Sees from a thread of its own whether the engine's event loop goes round, and which run holds it up if not."""

import asyncio
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

from runs.engine.execution import current_run

_EVERY = 0.5
#: A loop that was silent for so long is stalled.
_STALLED_AFTER = 1.0


class Watchdog:
    """Calls `report(seconds, run_id)` twice a second.

    It tells for how long the loop has been stalled, 0 while it goes round, and by which run, if it is one's doing.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, report: Callable[[float, uuid.UUID | None], None]) -> None:
        self._loop = loop
        self._report = report
        self._runs: weakref.WeakKeyDictionary[asyncio.Task[Any], uuid.UUID | None] = weakref.WeakKeyDictionary()
        self._seen = time.monotonic()
        loop.set_task_factory(self._make_task)  # type: ignore[arg-type]

    def start(self) -> None:
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def _make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coro: Coroutine[Any, Any, Any],
        context: Context | None = None,
        **kwargs: Any,
    ) -> "asyncio.Task[Any]":
        task = asyncio.Task(coro, loop=loop, context=context, **kwargs)
        self._runs[task] = context.get(current_run) if context is not None else current_run.get()
        return task

    def _beat(self) -> None:
        self._seen = time.monotonic()

    def _watch(self) -> None:
        while True:
            self._loop.call_soon_threadsafe(self._beat)
            time.sleep(_EVERY)
            silence = time.monotonic() - self._seen
            if silence <= _STALLED_AFTER:
                self._report(0, None)
                continue
            task = asyncio.current_task(self._loop)
            self._report(silence, self._runs.get(task) if task else None)
