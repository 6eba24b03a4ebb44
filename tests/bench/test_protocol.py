"""What `bench.protocol` measures, on a real server and as small as it can be. How fast anything is, no test says."""

import functools
from collections.abc import AsyncIterator, Iterator

import pytest

from bench import protocol
from bench.client import open_session
from bench.server import GRAPHS
from bench.watching import TRANSPORTS, Protocol
from tests.e2e.server import Server
from tests.e2e.servers import MakeServer

SMALL = {
    "tokens": functools.partial(protocol.tokens, count=3),
    "tokens_conc": functools.partial(protocol.tokens_conc, count=3, streams=2),
    "fanout": functools.partial(protocol.fanout, count=3, readers=2, delay=0.0),
    "idle": functools.partial(protocol.idle, streams=4, threads=2, hold=0.0),
    "slow_readers": functools.partial(protocol.slow_readers, readers=2, count=10, size=1000),
}


@pytest.fixture(scope="module")
def measured(make_module_server: MakeServer) -> Iterator[Server]:
    yield make_module_server(LANGGRAPH_CONFIG=str(GRAPHS)).start()


@pytest.fixture
async def api(measured: Server, key: str) -> AsyncIterator[Protocol]:
    async with open_session({"X-Api-Key": key}) as session:
        yield Protocol(session, measured.url, key)


def test_every_case_has_its_small_form() -> None:
    assert SMALL.keys() == protocol.CASES.keys()


@pytest.mark.parametrize("case", SMALL)
async def test_a_case_measures_the_same_of_both_transports(api: Protocol, measured: Server, case: str) -> None:
    found = [await SMALL[case](api, transport, measured.pid) for transport in TRANSPORTS]
    assert found[0] and found[0].keys() == found[1].keys()
