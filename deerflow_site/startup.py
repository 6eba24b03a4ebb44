"""What `serve` and `worker` do before they begin, and how they speak to whoever started them."""

import contextlib
import logging
import subprocess
import sys
import time

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.core.management.commands.migrate import Command as DjangoMigrate
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from runs.langgraph_json import ConfigError, read_config
from runs.postgres import connection_parameters

logger = logging.getLogger(__name__)

_PAUSE_SECONDS = 1.0
#: How PostgreSQL says that waiting is of no use.
_REFUSALS = ("password authentication failed", "does not exist", "no pg_hba.conf entry", "permission denied")


def check_configuration() -> None:
    """Raises CommandError when the langgraph.json can not be used."""
    try:
        read_config(settings.LANGGRAPH_CONFIG)
    except ConfigError as exc:
        raise CommandError(str(exc)) from None


def prepare_database(*, migrate: bool) -> None:
    """Bring the database up to date, or wait until somebody else has. Waits for PostgreSQL to answer.

    Processes that start together wait for each other. Raises CommandError when PostgreSQL refuses who asks.
    """
    if not settings.POSTGRES:
        # Not this site's own: that imports LangGraph, which the server does without.
        call_command(DjangoMigrate(), interactive=False, verbosity=0)
        connection.close()
        return
    _await_postgres()
    if migrate:
        # In a process of its own, for the same reason.
        done = subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=settings.BASE_DIR)
        if done.returncode:
            raise CommandError("The database could not be migrated.")
    while not is_migrated():
        say("Waiting for the database to be migrated.")
        time.sleep(_PAUSE_SECONDS)
    connection.close()


def _await_postgres() -> None:
    while True:
        try:
            psycopg.connect(**connection_parameters("start")).close()
            return
        except psycopg.OperationalError as exc:
            # Before the server speaks SQL it tells no code.
            if any(word in str(exc) for word in _REFUSALS):
                raise CommandError(f"DATABASE_URL: the server refuses it: {_last_line(exc)}") from None
            say("Waiting for the database to answer.")
            logger.warning("the database does not answer: %s", _last_line(exc))
        time.sleep(_PAUSE_SECONDS)


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].strip()


def is_migrated() -> bool:
    """Whether the database has all that this code needs. It may have more: that of a newer version."""
    executor = MigrationExecutor(connection)
    return not executor.migration_plan(executor.loader.graph.leaf_nodes())


def say(sentence: str) -> None:
    """Tell whoever watches; a terminal that was closed is no reason to fail."""
    with contextlib.suppress(OSError):
        print(sentence, file=sys.stderr, flush=True)
