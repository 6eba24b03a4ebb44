"""`manage.py migrate`: Django's, one at a time in a cluster, and with the tables of LangGraph."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.management.commands import migrate
from django.db import connection

from runs.engine.storage import site_database

_LOCK = 7305158000
_PAUSE_SECONDS = 0.2
#: What bounds a request must not cut a long migration off.
_LIMITS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.POSTGRES:
            super().handle(*args, **options)
            return
        with _alone():
            super().handle(*args, **options)
            site_database().setup()


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Wait for others who migrate, and let them wait; for as long as it takes."""
    with connection.cursor() as cursor:
        for limit in _LIMITS:
            cursor.execute(f"SET {limit} = 0")
        while not _is_locked(cursor):
            time.sleep(_PAUSE_SECONDS)
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])
            for limit in _LIMITS:
                cursor.execute(f"RESET {limit}")


def _is_locked(cursor: Any) -> bool:
    # Not a lock that is waited for: indexes that are made concurrently wait for all who wait.
    cursor.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK])
    return bool(cursor.fetchone()[0])
