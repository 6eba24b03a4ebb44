"""The way from coroutines to the database: a few threads of its own, each with a connection that it keeps."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import close_old_connections

P = ParamSpec("P")
R = TypeVar("R")

# Streams and hosts only read a few rows or renew leases here: few threads are enough, and their number does not grow
# with the streams that are open.
_threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="database")


async def in_database(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call `function` in a database thread."""

    def call() -> R:
        close_old_connections()
        return function(*args, **kwargs)

    return await sync_to_async(call, thread_sensitive=False, executor=_threads)()
