"""The seam for questions about state that only an engine can answer.

Services ask; the host of this process answers through its state engine. `install` is the host's.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
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


class PermitNeeded(Exception):
    """A command of a socket asks: it is to be performed again, with a `permit`."""


_TIMEOUT = 60.0
_PATIENCE = 5.0
_caller: tuple[asyncio.AbstractEventLoop, Caller] | None = None


def install(caller: Caller | None) -> None:
    """Answer the questions of this process with `caller`, on the running event loop; None: no more."""
    global _caller, _permits
    _permits = asyncio.Semaphore(max(1, settings.SOCKET_THREADS // 2))
    _caller = (asyncio.get_running_loop(), caller) if caller else None


# A graph may keep the engine from answering; then most threads of the server must still be there for the others.
_asking = threading.BoundedSemaphore(max(1, settings.WEB_THREADS // 2))


#: As many commands of sockets may ask at a time: the other threads are for those that need no engine.
_permits: asyncio.Semaphore | None = None
#: Whether the command of a socket that is performed may ask; None: what is performed is none.
_may_ask: ContextVar[bool | None] = ContextVar("may_ask", default=None)


@asynccontextmanager
async def permit() -> AsyncIterator[None]:
    """For a command of a socket that asks; no thread is held while it is waited for. Raises NoEngine."""
    if _permits is None:
        raise NoEngine
    permits = _permits
    try:
        async with asyncio.timeout(_PATIENCE):
            await permits.acquire()
    except TimeoutError:
        raise NoEngine from None
    try:
        yield
    finally:
        permits.release()


@contextmanager
def performing(*, permitted: bool) -> Iterator[None]:
    """Perform a command of a socket in this thread, which asks only if it is `permitted`."""
    before = _may_ask.set(permitted)
    try:
        yield
    finally:
        _may_ask.reset(before)


def ask(method: str, **params: Any) -> bytes:
    """Ask from a thread and wait; answers JSON. Raises CallRefused, NoEngine and PermitNeeded."""
    if _caller is None:
        raise NoEngine
    if (may_ask := _may_ask.get()) is not None:
        if not may_ask:
            raise PermitNeeded
        return _ask(*_caller, method, params)
    if not _asking.acquire(timeout=_PATIENCE):
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
