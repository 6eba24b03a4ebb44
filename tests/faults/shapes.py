"""The systems on trial, started by their public commands: one machine, and a cluster."""

import asyncio
import contextlib
import os
import random
import signal
import socket
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import psycopg

from tests.e2e.server import Server
from tests.faults.dump import dump_postgres, dump_sqlite
from tests.faults.evidence import Dump
from tests.faults.proxy import Proxy
from tests.services import Postgres, Redis

#: Seconds so short that recovery is cheap to watch; attempts so many that no run is given up.
SETTINGS = {
    "LEASE_SECONDS": "3",
    "HEARTBEAT_SECONDS": "1",
    "REAP_SECONDS": "1",
    "CANCEL_GRACE": "1",
    "DRAIN_SECONDS": "2",
    "MAX_ATTEMPTS": "1000",
    "DISCONNECT_GRACE": "2",
    "STREAM_HEARTBEAT": "0.5",
    # The receiver of webhooks is on this machine.
    "WEBHOOK_ALLOW_PRIVATE": "1",
}


class System(Protocol):
    """A running system. `url` leads to it as long as anything of it lives."""

    url: str
    key: str
    #: Processes that answer requests, and processes that run graphs; one machine's only one is both.
    web: list[Server]
    workers: list[Server]

    def processes(self) -> list[Server]: ...

    def dump(self) -> Dump:
        """What it has left, once its processes have ended."""
        ...

    def connections(self) -> int:
        """How many connections to its database server are open."""
        ...


def webhook_secret(system: System) -> str:
    """What the webhooks of the organization that the key is for are signed with."""
    return system.web[0].run_command("webhooksecret", "--organization", "acme").strip()


class OneMachine:
    """One `serve` on SQLite. It listens on the same address after every restart."""

    def __init__(self, folder: Path, *, settings: Mapping[str, str]) -> None:
        self._server = Server(folder / "data", **{**SETTINGS, **settings})
        self.web = self.workers = [self._server]

    @asynccontextmanager
    async def running(self) -> AsyncIterator["OneMachine"]:
        self._server.run_command("migrate", "--verbosity", "0")
        self.key = self._server.key("alice@acme.test", "acme")
        try:
            await start([self._server])
            self.url = self._server.url
            yield self
        finally:
            _kill(self.processes())

    def processes(self) -> list[Server]:
        return [self._server]

    def dump(self) -> Dump:
        return dump_sqlite(self._server.data_dir)

    def connections(self) -> int:
        return 0


class Cluster:
    """Web processes and workers on PostgreSQL and Redis, behind a proxy."""

    def __init__(
        self, folder: Path, chance: random.Random, *, settings: Mapping[str, str], web: int = 2, workers: int = 2
    ) -> None:
        self._folder = folder
        self._chance = chance
        self._sizes = web, workers
        self._settings = {**SETTINGS, **settings}

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Cluster"]:
        with contextlib.ExitStack() as stack:
            self.postgres = Postgres()
            stack.callback(self.postgres.close)
            self.redis = Redis()
            stack.callback(self.redis.stop)
            stack.callback(self.redis.signal, signal.SIGCONT)
            web, workers = self._sizes
            self.web = [self._server("serve", "--no-worker") for _ in range(web)]
            self.workers = [self._server("worker") for _ in range(workers)]
            stack.callback(lambda: _kill(self.processes()))
            self.web[0].run_command("migrate", "--verbosity", "0")
            self.key = self.web[0].key("alice@acme.test", "acme")
            await start(self.processes())
            async with Proxy(lambda: [server.url for server in self.web], self._chance) as self.proxy:
                self.url = self.proxy.url
                yield self

    def processes(self) -> list[Server]:
        return [*self.web, *self.workers]

    def dump(self) -> Dump:
        return dump_postgres(self.postgres.url)

    def connections(self) -> int:
        """Those of the rig's own question left out; 0 while the database is away."""
        sql = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        try:
            with psycopg.connect(self.postgres.url, connect_timeout=5) as connection:
                [(count,)] = connection.execute(sql).fetchall()
        except psycopg.Error:
            return 0
        return int(count)

    def transactions(self) -> int:
        """How many transactions wait for their client to go on."""
        with psycopg.connect(self.postgres.url) as connection:
            [(count,)] = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'"
            ).fetchall()
        return int(count)

    def _server(self, *words: str) -> Server:
        # A port of its own from the beginning: the proxy knows it before it listens.
        services = {"DATABASE_URL": self.postgres.url, "REDIS_URL": self.redis.url}
        return Server(self._folder / "data", words=words, **{**self._settings, **services, "PORT": str(_free_port())})


async def start(servers: Sequence[Server]) -> None:
    """Start all of these at once, and wait until they are ready."""
    for server in servers:
        # In the thread of the event loop, with which they are to die.
        server.launch()
    await asyncio.gather(*(asyncio.to_thread(server.await_serving) for server in servers))


async def stop(servers: Sequence[Server]) -> list[str]:
    """End all of these in good order; answers those that did not."""
    for server in servers:
        server.signal(signal.SIGTERM)
    codes = await asyncio.gather(*(asyncio.to_thread(server.await_exit) for server in servers))
    return [
        f"`{' '.join(server.words)}` ended with {code}; its log is {server.log_path}"
        for server, code in zip(servers, codes, strict=True)
        if code
    ]


def send(pid: int, number: signal.Signals) -> None:
    """Signal a process that may be gone by now."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


@contextlib.contextmanager
def frozen(pids: Collection[int]) -> Iterator[None]:
    """Keep these processes from doing anything."""
    try:
        for pid in pids:
            send(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            send(pid, signal.SIGCONT)


def left_running(data_dir: Path) -> list[str]:
    """The processes that have this data directory in their environment."""
    mark = f"DEERFLOW_DATA_DIR={data_dir}\0".encode()
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                place = Path("/proc", name)
                if mark in (place / "environ").read_bytes() + b"\0":
                    words = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found.append(f"process {name} is left: {words[:200]}")
    return found


def _kill(servers: Sequence[Server]) -> None:
    for server in servers:
        server.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
