"""The threads in which nodes that are plain functions run.

A thread cannot be cancelled: what a stopped run left in one goes on, and keeps its place.
"""

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from runs.engine.execution import current_run

R = TypeVar("R")


class NodeThreads(ThreadPoolExecutor):
    """An executor that knows on whose behalf its threads work."""

    def __init__(self, size: int) -> None:
        super().__init__(size, thread_name_prefix="node")
        self._working: Counter[uuid.UUID] = Counter()
        self._guard = threading.Lock()

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> "Future[R]":
        run_id = current_run.get()
        return super().submit(fn if run_id is None else self._counted(fn, run_id), *args, **kwargs)

    def abandoned(self, running: Collection[uuid.UUID]) -> int:
        """How many threads work for runs that are not among these."""
        with self._guard:
            return sum(count for run_id, count in self._working.items() if run_id not in running)

    def _counted(self, fn: Callable[..., R], run_id: uuid.UUID) -> Callable[..., R]:
        def work(*args: Any, **kwargs: Any) -> R:
            self._count(run_id, 1)
            try:
                return fn(*args, **kwargs)
            finally:
                self._count(run_id, -1)

        return work

    def _count(self, run_id: uuid.UUID, change: int) -> None:
        with self._guard:
            self._working[run_id] += change
            if not self._working[run_id]:
                del self._working[run_id]
