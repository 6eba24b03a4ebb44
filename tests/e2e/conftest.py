"""Real servers. `server` is shared by all tests that leave it as it was; `make_server` makes one to be mistreated."""

import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient

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
#: Seconds that a test, or what it needs, may take. Far more than any does.
_LONGEST = 300

_servers: list[Server] = []


class TookTooLong(BaseException):
    """A test waits for what does not come. No Exception, so that nobody on the way takes it for a failed request."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    with _bounded():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    with _bounded():
        return (yield)


@contextmanager
def _bounded() -> Iterator[None]:
    def give_up(*_: object) -> None:
        raise TookTooLong

    before = signal.signal(signal.SIGALRM, give_up)
    # Again and again: a task that nobody waits for may have taken the first.
    signal.setitimer(signal.ITIMER_REAL, _LONGEST, 5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report: Any = yield
    if report.failed:
        report.sections += [(f"log of the {server}", server.log()[-_LOG_TAIL:]) for server in _servers]
    return report


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Server, str]:
    """A server that never runs, its database migrated, and Alice's key to it: what the others are copies of."""
    server = Server(tmp_path_factory.mktemp("prepared") / "data")
    server.run_command("migrate", "--verbosity", "0")
    return server, server.key("alice@acme.test", "acme")


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
async def client(server: Server, key: str) -> AsyncIterator[LangGraphClient]:
    """The official SDK, as Alice."""
    async with get_client(url=server.url, api_key=key) as client:
        yield client


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")
