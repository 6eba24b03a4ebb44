"""A node that holds the interpreter of its engine, and with it the database, until the engine is replaced."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph_sdk import get_client

from tests.e2e.server import Server
from tests.e2e.servers import MakeServer

GRAPHS = Path(__file__).parent / "graphs" / "langgraph.json"


@pytest.fixture(scope="module")
def outcomes(make_module_server: MakeServer, key: str) -> Iterator[dict[str, Any]]:
    """How the run ended on a server with a time limit for runs, and on one that waits for silent engines."""
    servers = {
        "limited": make_module_server(LANGGRAPH_CONFIG=str(GRAPHS), RUN_TIMEOUT="2", LEASE_SECONDS="600").launch(),
        "patient": make_module_server(
            LANGGRAPH_CONFIG=str(GRAPHS), LEASE_SECONDS="2", HEARTBEAT_SECONDS="1", MAX_ATTEMPTS="2"
        ).launch(),
    }
    runs = asyncio.run(_hold_each([server.await_serving() for server in servers.values()], key))
    yield dict(zip(servers, runs, strict=True))


async def _hold_each(servers: list[Server], key: str) -> list[Any]:
    return await asyncio.gather(*(_hold(server, key) for server in servers))


async def _hold(server: Server, key: str) -> Any:
    """The run at its end. All the while others write, and none of them is refused."""
    async with get_client(url=server.url, api_key=key) as client:
        thread = await client.threads.create()
        run = await client.runs.create(thread["thread_id"], "holding", input={}, stream_mode="custom")
        joining = asyncio.create_task(client.runs.join(run["thread_id"], run["run_id"]))
        while not joining.done():
            await client.threads.create()
            await asyncio.sleep(0.05)
        await joining
        events = [part async for part in client.runs.join_stream(run["thread_id"], run["run_id"])]
        attempts = [part.data["attempt"] for part in events if part.event == "metadata"]
        return {**await client.runs.get(run["thread_id"], run["run_id"]), "attempts": attempts}


def test_a_run_that_holds_the_database_ends_by_its_time_limit(outcomes: dict[str, Any]) -> None:
    assert (outcomes["limited"]["status"], outcomes["limited"]["attempts"]) == ("timeout", [1])


def test_an_engine_that_says_nothing_is_replaced_and_its_runs_are_not_tried_for_ever(outcomes: dict[str, Any]) -> None:
    assert (outcomes["patient"]["status"], outcomes["patient"]["attempts"]) == ("error", [1, 2])
    assert outcomes["patient"]["error"]["error"] == "worker_lost"
