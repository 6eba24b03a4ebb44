"""What `serve` and `worker` do before they begin, and how they speak to whoever started them."""

import contextlib
import logging
import sys
import time

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor

from runs.langgraph_json import ConfigError, read_config

logger = logging.getLogger(__name__)

_MIGRATION_LOCK = 7305158000
_PAUSE_SECONDS = 1.0


def check_configuration() -> None:
    """Raises CommandError when the langgraph.json can not be used."""
    try:
        read_config(settings.LANGGRAPH_CONFIG)
    except ConfigError as exc:
        raise CommandError(str(exc)) from None


def prepare_database(*, migrate: bool) -> None:
    """Bring the database up to date, or wait until somebody else has. Waits for PostgreSQL to answer.

    Processes that start together wait for each other.
    """
    while True:
        try:
            if _prepare(migrate):
                break
            say("Waiting for the database to be migrated.")
        except OperationalError as exc:
            if not settings.POSTGRES:
                raise
            connection.close()
            say("Waiting for the database to answer.")
            logger.warning("the database does not answer: %s", exc)
        time.sleep(_PAUSE_SECONDS)
    connection.close()


def _prepare(migrate: bool) -> bool:
    if not settings.POSTGRES:
        call_command("migrate", interactive=False, verbosity=0)
        return True
    if is_migrated() or not migrate:
        return is_migrated()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_MIGRATION_LOCK])
        if not cursor.fetchone()[0]:
            return False
        try:
            call_command("migrate", interactive=False, verbosity=0)
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_MIGRATION_LOCK])
    return True


def is_migrated() -> bool:
    """Whether the database has all that this code needs. It may have more: that of a newer version."""
    executor = MigrationExecutor(connection)
    return not executor.migration_plan(executor.loader.graph.leaf_nodes())


def say(sentence: str) -> None:
    """Tell whoever watches; a terminal that was closed is no reason to fail."""
    with contextlib.suppress(OSError):
        print(sentence, file=sys.stderr, flush=True)
