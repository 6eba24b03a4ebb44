"""The seam for questions about state that only an engine can answer.

Services ask; the host of this process answers through its state engine. `install` is the host's.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from django.conf import settings

Caller = Callable[[str, dict[str, Any]], Coroutine[Any, Any, bytes]]


class CallRefused(Exception):
    """The question can not be answered so: `status` and `detail` are for whoever asked."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail


class NoEngine(Exception):
    """Nobody can answer now; it is worth asking again."""


_TIMEOUT = 60.0
_PATIENCE = 5.0
_caller: tuple[asyncio.AbstractEventLoop, Caller] | None = None


def install(caller: Caller | None) -> None:
    """Answer the questions of this process with `caller`, on the running event loop; None: no more."""
    global _caller
    _caller = (asyncio.get_running_loop(), caller) if caller else None


# A graph may keep the engine from answering; then most threads of the server must still be there for the others.
_asking = threading.BoundedSemaphore(max(1, settings.WEB_THREADS // 2))


def ask(method: str, **params: Any) -> bytes:
    """Ask from a thread and wait; answers JSON. Raises CallRefused and NoEngine."""
    if _caller is None or not _asking.acquire(timeout=_PATIENCE):
        raise NoEngine
    try:
        return _ask(*_caller, method, params)
    finally:
        _asking.release()


def _ask(loop: asyncio.AbstractEventLoop, caller: Caller, method: str, params: dict[str, Any]) -> bytes:
    future = asyncio.run_coroutine_threadsafe(caller(method, params), loop)
    try:
        return future.result(_TIMEOUT)
    except TimeoutError as exc:
        future.cancel()
        raise NoEngine from exc
