"""`manage.py worker`: runs graphs for servers that share its database; serves nothing itself."""

import asyncio
import contextlib
import os
import signal
import sys
from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from deerflow_site.startup import check_configuration, prepare_database, say
from runs.database import in_database
from runs.host.host import Host
from runs.models import Graph

_HEALTH_SECONDS = 2.0


class Command(BaseCommand):
    help = "Run graphs for the servers on the same DATABASE_URL."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--concurrency", type=_positive, help="how many runs each engine executes at once (ENGINE_CONCURRENCY)"
        )
        parser.add_argument("--health-file", type=Path, help="a file that is touched while the worker is healthy")
        parser.add_argument("--no-migrate", action="store_true", help="wait until the database was migrated elsewhere")

    def handle(
        self, *args: Any, concurrency: int | None, health_file: Path | None, no_migrate: bool, **options: Any
    ) -> None:
        if not settings.POSTGRES:
            raise CommandError("worker needs DATABASE_URL: with SQLite the server runs the graphs itself.")
        if concurrency:
            settings.ENGINE_CONCURRENCY = concurrency
        if health_file:
            _check_writable(health_file)
        check_configuration()
        prepare_database(migrate=not no_migrate)
        asyncio.run(_Worker(health_file).run())
        # What an engine's end left behind in threads is no reason to stay.
        with contextlib.suppress(OSError):
            sys.stderr.flush()
        os._exit(0)


def _check_writable(path: Path) -> None:
    try:
        path.touch()
        path.unlink()
    except OSError as exc:
        raise CommandError(f"--health-file can not be written: {path}: {exc.strerror}.") from None


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise ArgumentTypeError("must be a whole number, at least 1")
    return int(text)


class _Worker:
    """The host of a process of its own, from start to exit."""

    def __init__(self, health_file: Path | None) -> None:
        self._health_file = health_file
        self._host = Host()
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()

    async def run(self) -> None:
        """Work until told to stop: the first signal drains, the next one does not wait for runs any more."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        await self._host.start(alone=False)
        health = asyncio.create_task(self._tell_health())
        await self._until_ready()
        say("Working")
        await self._stopping.wait()
        draining = asyncio.create_task(self._host.drain(settings.DRAIN_SECONDS))
        hurried = asyncio.create_task(self._hurry.wait())
        await asyncio.wait({draining, hurried}, return_when=asyncio.FIRST_COMPLETED)
        draining.cancel()
        health.cancel()
        await self._host.stop()

    def _on_signal(self) -> None:
        if self._stopping.is_set():
            self._hurry.set()
            return
        say("Stopping: running runs are given time to end; once more to hand them back now.")
        self._stopping.set()

    async def _until_ready(self) -> None:
        while not self._host.ready and not self._stopping.is_set():
            await asyncio.sleep(0.05)

    async def _tell_health(self) -> None:
        """Touch the file while engines are there and the database answers."""
        while self._health_file:
            with contextlib.suppress(Exception):  # whatever it is, the file grows old by it, and that is the message
                await in_database(Graph.objects.exists)
                if self._host.ready or self._stopping.is_set():
                    self._health_file.touch()
            await asyncio.sleep(_HEALTH_SECONDS)
