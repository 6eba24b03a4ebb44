"""What several do at once."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import connections

from runs.exceptions import Conflict, NotFound
from runs.protocol.commands import CommandFailed


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What each answers, or how it is refused, in threads that start together."""
    start = threading.Barrier(len(calls))

    def answer(call: Callable[[], Any]) -> Any:
        start.wait(20)
        try:
            return call()
        except (Conflict, NotFound, CommandFailed) as exc:
            return exc
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(answer, calls))
