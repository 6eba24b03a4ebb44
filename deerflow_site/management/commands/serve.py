"""`manage.py serve`: the server, on one machine with everything that it needs, on many beside workers."""

import asyncio
import contextlib
import fcntl
import gc
import logging
import os
import signal
import socket
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import IO, Any

import watchfiles
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from accounts.models import User
from deerflow_site.asgi import application, health
from deerflow_site.server import Server, event_loop, reactor
from deerflow_site.startup import check_configuration, prepare_database, say
from runs.host.host import Host
from runs.log import current_hub

logger = logging.getLogger(__name__)

_BACKLOG = 1024
#: How long requests that are no streams may take to be answered when the server leaves.
_ANSWER_SECONDS = 5.0


class Command(BaseCommand):
    help = "Serve the API, and run graphs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--reload", action="store_true", help="start again when a source file changes")
        parser.add_argument("--no-worker", action="store_true", help="leave the runs to workers; needs DATABASE_URL")
        parser.add_argument("--no-migrate", action="store_true", help="wait until the database was migrated elsewhere")

    def handle(self, *args: Any, reload: bool, no_worker: bool, no_migrate: bool, **options: Any) -> None:
        if no_worker and not settings.POSTGRES:
            raise CommandError("--no-worker needs DATABASE_URL: with SQLite nobody else could run graphs.")
        if reload:
            _serve_and_reload()
            return
        check_configuration()
        with contextlib.nullcontext() if settings.POSTGRES else _sole_server(settings.DATA_DIR / "serve.lock"):
            prepare_database(migrate=not no_migrate)
            if not User.objects.exists():
                self.stderr.write("Make an API key with: manage.py createkey --email you@example.org")
            connection.close()
            _Service(_listen(settings.HOST, settings.PORT), runs=not no_worker).run()


def _serve_and_reload() -> None:
    graphs = settings.LANGGRAPH_CONFIG.parent if settings.LANGGRAPH_CONFIG else settings.BASE_DIR
    command = [sys.executable, *(word for word in sys.argv if word != "--reload")]
    os.environ["DRAIN_SECONDS"] = "0.1"
    watchfiles.run_process(
        settings.BASE_DIR,
        graphs,
        target=" ".join(map(_quoted, command)),
        target_type="command",
        watch_filter=watchfiles.PythonFilter(),
    )


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


@contextlib.contextmanager
def _sole_server(path: Path) -> Any:
    """Hold the data directory: two servers would take each other's runs for orphans."""
    file: IO[str]
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CommandError(f"Another server uses {path.parent}; set DEERFLOW_DATA_DIR to another place.") from None
        yield


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as exc:
        raise CommandError(f"Can not listen on {host}:{port}: {exc.strerror}. Set PORT to another one.") from None
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener


class _Service:
    """The server and its host, from start to exit."""

    def __init__(self, listener: socket.socket, *, runs: bool) -> None:
        self._runs = runs
        self._address = "http://{}:{}".format(*listener.getsockname()[:2])
        # Twisted takes the descriptor over and closes it.
        self._descriptor = listener.detach()
        self._host = Host()
        health.host_is_ready = lambda: self._host.ready
        self._leaving: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._failed = False

    def run(self) -> None:
        """Serve until told to stop. Does not return: the process exits."""
        sys.setswitchinterval(settings.THREAD_SWITCH_SECONDS)
        # What is imported now stays: the collector need not look at it during requests.
        gc.collect()
        gc.freeze()
        self._server = Server(
            application,
            endpoints=[f"fd:fileno={self._descriptor}"],
            signal_handlers=False,
            ready_callable=self._on_ready,
            verbosity=0,
        )
        # Python 3.11 may crash when it ends with streams open; by then all is flushed and closed.
        reactor.addSystemEventTrigger("after", "shutdown", self._exit)
        self._server.run()

    def _on_ready(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            event_loop.add_signal_handler(number, self._on_signal)
        self._starting = event_loop.create_task(self._start())

    async def _start(self) -> None:
        try:
            await self._host.start(alone=not settings.POSTGRES, runs=self._runs)
        except Exception:  # whatever it is, a server without a host is of no use
            logger.exception("the server could not start")
            self._failed = True
            reactor.stop()
            return
        say(f"Serving on {self._address}")

    def _on_signal(self) -> None:
        """The first one drains, the next one does not wait for runs any more."""
        if self._leaving:
            self._hurry.set()
            return
        say("Stopping: running runs are given time to end; once more to hand them back now.")
        self._leaving = event_loop.create_task(self._leave())

    async def _leave(self) -> None:
        await self._server.stop_listening()
        draining = asyncio.create_task(self._host.drain(settings.DRAIN_SECONDS))
        hurried = asyncio.create_task(self._hurry.wait())
        await asyncio.wait({draining, hurried}, return_when=asyncio.FIRST_COMPLETED)
        draining.cancel()
        current_hub().cut()
        self._server.leave_sockets()
        await self._server.finish_requests(_ANSWER_SECONDS)
        try:
            await self._host.stop()
        finally:
            reactor.stop()

    def _exit(self) -> None:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(1 if self._failed else 0)
