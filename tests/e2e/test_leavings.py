"""What a graph leaves behind in its engine, or takes along, costs the engine at most."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import InternalServerError

from tests.e2e.server import Server
from tests.e2e.servers import MakeServer

GRAPHS = Path(__file__).parent / "graphs" / "langgraph.json"


@pytest.fixture(scope="module")
def leaving(make_module_server: MakeServer) -> Server:
    """One for all of them: whatever a test leaves in it, the next one finds it working."""
    return make_module_server(LANGGRAPH_CONFIG=str(GRAPHS), RUN_TIMEOUT="600").start()


async def answer_of(client: LangGraphClient, graph: str) -> str:
    async with asyncio.timeout(60):
        return (await client.runs.wait(None, graph, input={}))["answer"]


async def state_of(client: LangGraphClient, thread_id: str) -> Any:
    """The thread's state; None when the server says to come back for it."""
    try:
        return await client.threads.get_state(thread_id)
    except InternalServerError:
        return None


async def test_a_task_that_outlives_its_run_does_not_hold_the_others_up(leaving: Server, key: str) -> None:
    async with get_client(url=leaving.url, api_key=key) as client:
        assert await answer_of(client, "leaves_a_task") == "left"
        await asyncio.sleep(1)

        assert await answer_of(client, "quiet") == "yes"


async def test_a_process_that_outlives_its_engine_does_not_keep_it_from_being_replaced(
    leaving: Server, key: str
) -> None:
    async with get_client(url=leaving.url, api_key=key) as client:
        assert await answer_of(client, "leaves_a_process") == "forked"
        for engine in leaving.engine_pids():
            os.kill(engine, signal.SIGKILL)

        assert await answer_of(client, "quiet") == "yes"


async def test_a_node_that_exits_fails_its_own_run_alone(leaving: Server, key: str) -> None:
    async with get_client(url=leaving.url, api_key=key) as client:
        neighbour = await client.runs.create(None, "sleeper", input={})
        failed = await client.runs.wait(None, "exits", input={}, raise_error=False)
        joined = await client.runs.join(neighbour["thread_id"], neighbour["run_id"])
        events = [part async for part in client.runs.join_stream(neighbour["thread_id"], neighbour["run_id"])]

    assert failed["__error__"] == {"error": "SystemExit", "message": "3"}
    assert joined == {"answer": "slept"}
    assert [part.data["attempt"] for part in events if part.event == "metadata"] == [1]


async def test_a_graph_that_blocks_the_state_engine_does_not_keep_others_from_their_state(
    leaving: Server, key: str
) -> None:
    async with get_client(url=leaving.url, api_key=key, timeout=100) as client:
        threads = {}
        for graph in ("read_for_ever", "quiet"):
            threads[graph] = (await client.threads.create())["thread_id"]
            await client.runs.wait(threads[graph], graph, input={})
        blocked = asyncio.create_task(client.threads.get_state(threads["read_for_ever"]))
        await asyncio.sleep(1)

        async with asyncio.timeout(60):
            while (state := await state_of(client, threads["quiet"])) is None:
                await asyncio.sleep(0.5)
        blocked.cancel()

    assert state["values"] == {"answer": "yes"}


async def test_an_engine_that_takes_too_much_memory_is_replaced_and_its_runs_go_on(
    make_server: MakeServer, key: str
) -> None:
    server = make_server(LANGGRAPH_CONFIG=str(GRAPHS), RUN_TIMEOUT="600", ENGINE_MEMORY_MB="500").start()
    async with get_client(url=server.url, api_key=key) as client:
        assert await answer_of(client, "hoards") == "attempt 2"
        assert await answer_of(client, "quiet") == "yes"
    assert "takes more than ENGINE_MEMORY_MB" in server.log()
