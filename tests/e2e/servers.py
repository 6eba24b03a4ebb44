"""Real servers for tests. `server` is shared by all that leave it as it was; `make_server` makes one to be mistreated.

A plugin, so that tests of several folders have the same one.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.ledger import Ledger
from tests.e2e.server import Server

MakeServer = Callable[..., Server]

#: What every test shortens, so that nobody waits for what is meant for people; but no run is to be saved by the end of
#: its lease.
BRISK = {
    "LEASE_SECONDS": "600",
    "STREAM_HEARTBEAT": "0.5",
    "DISCONNECT_GRACE": "1",
    "CANCEL_GRACE": "1",
    "DRAIN_SECONDS": "0.5",
}
_LOG_TAIL = 20_000

_servers: list[Server] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report: Any = yield
    if report.failed:
        report.sections += [(f"log of the {server}", server.log()[-_LOG_TAIL:]) for server in _servers]
    return report


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Server, str]:
    """A server that never runs, its database migrated, and Alice's key to it: what the others are copies of."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        # One for all workers; the first who needs it makes it.
        folder = folder.parent
    server, key = Server(folder / "prepared"), folder / "prepared.key"
    with (folder / "prepared.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not key.exists():
            server.run_command("migrate", "--verbosity", "0")
            key.write_text(server.key("alice@acme.test", "acme"))
    return server, key.read_text()


@pytest.fixture(scope="session")
def key(prepared: tuple[Server, str]) -> str:
    """Alice's API key; every server takes it."""
    return prepared[1]


@contextmanager
def _making(prepared: tuple[Server, str], folder: Path) -> Iterator[MakeServer]:
    """Make servers that are not started yet; those that run at the end are killed."""
    made: list[Server] = []

    def make_server(**settings: str) -> Server:
        server = prepared[0].copy(folder / f"data{len(made)}", **{**BRISK, **settings})
        made.append(server)
        _servers.append(server)
        return server

    try:
        yield make_server
    finally:
        for server in made:
            server.kill()
            _servers.remove(server)


@pytest.fixture
def make_server(prepared: tuple[Server, str], tmp_path: Path) -> Iterator[MakeServer]:
    with _making(prepared, tmp_path) as make_server:
        yield make_server


@pytest.fixture(scope="module")
def make_module_server(prepared: tuple[Server, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeServer]:
    with _making(prepared, tmp_path_factory.mktemp("servers")) as make_server:
        yield make_server


@pytest.fixture(scope="session")
def server(prepared: tuple[Server, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with _making(prepared, tmp_path_factory.mktemp("shared")) as make_server:
        yield make_server().start()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")
