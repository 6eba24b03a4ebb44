"""The way from coroutines to the database: a few threads of its own, each with a connection that it keeps."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0

# Few threads are enough, and their number does not grow with the streams that are open.
_threads = ThreadPoolExecutor(settings.DATABASE_THREADS, thread_name_prefix="database")

# A host that is late with its leases loses its runs: no crowd of readers or of handshakes is before it.
_lease_threads = ThreadPoolExecutor(settings.LEASE_THREADS, thread_name_prefix="lease")

# Commands may take long, and must not hold up those who read.
_command_threads = ThreadPoolExecutor(settings.SOCKET_THREADS, thread_name_prefix="command")


async def in_database(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call `function` in a database thread."""
    return await _in(_threads, partial(function, *args, **kwargs))


async def in_command_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """As `in_database`, for what somebody asked for by a socket."""
    return await _in(_command_threads, partial(function, *args, **kwargs))


async def in_lease_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """As `in_database`, for what takes, keeps and gives up runs."""
    return await _in(_lease_threads, partial(function, *args, **kwargs))


async def _in(threads: ThreadPoolExecutor, function: Callable[[], R]) -> R:
    def call() -> R:
        close_old_connections()
        return function()

    return await sync_to_async(call, thread_sensitive=False, executor=threads)()


async def in_database_at_last(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """As `in_database`, once the database answers: it is asked again until then."""
    return await _at_last(_threads, partial(function, *args, **kwargs))


async def in_lease_thread_at_last(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """As `in_lease_thread`, once the database answers."""
    return await _at_last(_lease_threads, partial(function, *args, **kwargs))


async def _at_last(threads: ThreadPoolExecutor, function: "partial[R]") -> R:
    while True:
        try:
            return await _in(threads, function)
        except (OperationalError, InterfaceError) as exc:
            logger.info("the database does not answer %s; asking again: %s", function.func.__name__, exc)
            await asyncio.sleep(_RETRY_SECONDS)
