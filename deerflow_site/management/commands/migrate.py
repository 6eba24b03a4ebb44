"""`manage.py migrate`: Django's, one at a time in a cluster, and with the tables of LangGraph."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import connection

from runs.engine.storage import NoVectors, site_database
from runs.langgraph_json import ConfigError, read_config

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
            _make_tables_of_langgraph()


def _make_tables_of_langgraph() -> None:
    try:
        site_database(read_config(settings.LANGGRAPH_CONFIG).store.index).setup()
    except ConfigError as exc:
        raise CommandError(str(exc)) from None
    except NoVectors as exc:
        raise CommandError(f"The items of the store can not be searched by meaning: {exc}") from None


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
