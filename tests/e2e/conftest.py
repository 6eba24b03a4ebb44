"""The official SDK for tests of real servers (their fixtures: `tests.e2e.servers`), and a bound to their patience."""

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient

from tests.e2e.server import Server
from tests.javascript import JavaScript, install

#: Seconds that a test, or what it needs, may take. Far more than any does.
_LONGEST = 300


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


@pytest.fixture
async def client(server: Server, key: str) -> AsyncIterator[LangGraphClient]:
    """The official SDK, as Alice."""
    async with get_client(url=server.url, api_key=key) as client:
        yield client


@pytest.fixture(scope="session")
def javascript() -> Iterator[JavaScript]:
    """Node with the public JavaScript clients, and a process of it to run scenarios."""
    install()
    with JavaScript() as javascript:
        yield javascript
