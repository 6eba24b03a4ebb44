"""Graphs that block, spin, swallow their cancellation or take their process with them: each costs an engine at most."""

import asyncio
import os
import signal
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient

from tests.e2e.ledger import Ledger
from tests.e2e.server import Server, is_alive
from tests.e2e.servers import MakeServer
from tests.e2e.waiting import eventually, until
from tests.e2e.wire import events_of, request

#: How long the server lets a run take; longer than any run here that is meant to end by itself.
RUN_TIMEOUT = 3


@pytest.fixture(scope="module")
def server(make_module_server: MakeServer) -> Server:
    return make_module_server(RUN_TIMEOUT=str(RUN_TIMEOUT)).start()


@pytest.fixture
async def client(server: Server, key: str) -> AsyncIterator[LangGraphClient]:
    async with get_client(url=server.url, api_key=key) as client:
        yield client


async def start(client: LangGraphClient, ledger: Ledger, **plan: Any) -> Any:
    """A run of the stress graph on a thread of its own, which does not depend on anybody's reading it."""
    thread = await client.threads.create()
    plan["ledger"] = str(ledger.path)
    return await client.runs.create(thread["thread_id"], "stress", input=plan, stream_mode="updates")


async def ended(client: LangGraphClient, run: Any) -> str:
    """How the run ended, once it has."""
    await client.runs.join(run["thread_id"], run["run_id"])
    return str((await client.runs.get(run["thread_id"], run["run_id"]))["status"])


async def has_begun(ledger: Ledger, run: Any, step: int = 0) -> int:
    """Wait until the run is in this step and the steps before are safe; answers the process id of its engine."""

    async def look() -> list[int]:
        return [line["pid"] for line in ledger.lines(run["run_id"]) if line["step"] == step]

    return (await eventually(look))[-1]


async def is_safe(client: LangGraphClient, run: Any, steps: int) -> None:
    """Wait until so many steps of the run are in its checkpoints."""

    async def look() -> bool:
        state = await client.threads.get_state(run["thread_id"])
        return bool(state["values"] and state["values"].get("step") == steps)  # type: ignore[call-overload, union-attr]

    await eventually(look)


def is_gone(pid: int) -> None:
    until(lambda: not is_alive(pid))


@pytest.mark.parametrize("hang", ["block", "cpu"])
async def test_a_node_that_holds_the_event_loop_delays_no_request(
    client: LangGraphClient, ledger: Ledger, hang: str
) -> None:
    other = await client.threads.create()
    run = await start(client, ledger, hang=hang, block_seconds=2.5)
    asked: list[Callable[[], Awaitable[Any]]] = [
        lambda: client.http.get("/ok"),
        lambda: client.threads.get(run["thread_id"]),
        lambda: client.threads.get_state(run["thread_id"]),
        lambda: client.threads.search(limit=5),
        lambda: client.threads.update(other["thread_id"], metadata={"a": 1}),
        lambda: client.runs.list(run["thread_id"]),
    ]

    async def time_of_each() -> float:
        times = []
        for ask in asked * 4:
            began = time.perf_counter()
            await ask()
            times.append(time.perf_counter() - began)
        return statistics.median(times)

    await has_begun(ledger, run)
    while_held = await time_of_each()
    assert (await client.runs.get(run["thread_id"], run["run_id"]))["status"] == "running"
    assert await ended(client, run) == "success"
    assert while_held < 20 * await time_of_each()


async def test_a_spinning_run_ends_by_its_time_limit_and_its_neighbours_go_on(
    server: Server, client: LangGraphClient, ledger: Ledger
) -> None:
    neighbours = [await start(client, ledger, steps=3, delay=0.8) for _ in range(3)]
    for run in neighbours:
        engine = await has_begun(ledger, run, 1)
        await is_safe(client, run, 1)
    spinning = await start(client, ledger, hang="cpu")
    assert await has_begun(ledger, spinning) == engine
    assert await ended(client, spinning) == "timeout"
    assert [await ended(client, run) for run in neighbours] == ["success"] * 3
    assert ledger.done_twice() == []
    is_gone(engine)
    assert {line["pid"] for line in ledger.lines() if line["attempt"] == 2}.isdisjoint({engine})


@pytest.mark.parametrize("plan", [{"hang": "cpu"}, {"delay": 3600, "swallow_cancel": True}], ids=["spins", "ignores"])
async def test_a_run_that_does_not_obey_is_cancelled_and_its_neighbours_go_on(
    client: LangGraphClient, ledger: Ledger, plan: dict[str, Any]
) -> None:
    neighbour = await start(client, ledger, steps=3, delay=0.7)
    engine = await has_begun(ledger, neighbour, 1)
    await is_safe(client, neighbour, 1)
    run = await start(client, ledger, **plan)
    assert await has_begun(ledger, run) == engine
    await client.runs.cancel(run["thread_id"], run["run_id"], wait=True)
    assert await ended(client, run) == "interrupted"
    assert await ended(client, neighbour) == "success"
    assert ledger.done_twice() == []
    is_gone(engine)


async def test_runs_of_a_killed_engine_go_on_in_the_same_streams(
    server: Server, key: str, client: LangGraphClient, ledger: Ledger
) -> None:
    runs = [await start(client, ledger, steps=4, delay=0.6) for _ in range(3)]
    streams = [asyncio.create_task(stream_of(server, key, run)) for run in runs]
    for run in runs:
        engine = await has_begun(ledger, run, 1)
        await is_safe(client, run, 1)
    os.kill(engine, signal.SIGKILL)
    assert [await ended(client, run) for run in runs] == ["success"] * 3
    assert ledger.done_twice() == []
    for run, stream in zip(runs, await asyncio.gather(*streams), strict=True):
        assert ledger.attempts(run["run_id"]) == [1, 2]
        attempts = [b'"attempt":1' in stream, b'"attempt":2' in stream, stream.count(b"event: metadata")]
        assert attempts == [True, True, 2]
        assert events_of(stream) == await stream_of(server, key, run)


async def stream_of(server: Server, key: str, run: Any) -> bytes:
    async with request(server.url, key, "GET", f"/threads/{run['thread_id']}/runs/{run['run_id']}/stream") as reply:
        return events_of(await reply.read())


async def test_a_run_that_kills_its_process_each_time_fails_and_its_neighbour_succeeds(
    server: Server, client: LangGraphClient, ledger: Ledger
) -> None:
    neighbour = await start(client, ledger, steps=2, delay=1)
    engine = await has_begun(ledger, neighbour)
    deadly = await start(client, ledger, exit_at=0)
    assert await has_begun(ledger, deadly) == engine
    assert await ended(client, deadly) == "error"
    run = await client.runs.get(deadly["thread_id"], deadly["run_id"])
    assert run["error"]["error"] == "worker_lost"  # type: ignore[typeddict-item]
    assert ledger.attempts(deadly["run_id"]) == [1, 2, 3]
    assert await ended(client, neighbour) == "success"
    assert ledger.done_twice(neighbour["run_id"]) == []
    assert (await client.threads.get(deadly["thread_id"]))["status"] == "error"


async def test_a_run_that_kills_its_process_once_succeeds(client: LangGraphClient, ledger: Ledger) -> None:
    run = await start(client, ledger, steps=3, exit_at=1, attempts=1)
    assert await ended(client, run) == "success"
    assert ledger.steps() in ([0, 1, 1, 2], [0, 1, 0, 1, 2])


async def test_state_is_answered_again_after_its_engine_was_killed(
    server: Server, client: LangGraphClient, ledger: Ledger
) -> None:
    run = await start(client, ledger, delay=1.5)
    [state_engine] = server.engine_pids() - {await has_begun(ledger, run)}
    os.kill(state_engine, signal.SIGKILL)

    async def state() -> bool:
        reply = await client.http.client.get(f"/threads/{run['thread_id']}/state")
        assert reply.status_code in (200, 503)
        return reply.status_code == 200

    await eventually(state)
    assert await ended(client, run) == "success"
    assert ledger.attempts() == [1]


async def test_runs_go_on_after_the_spawner_was_killed(server: Server, client: LangGraphClient, ledger: Ledger) -> None:
    run = await start(client, ledger, steps=3, delay=0.5)
    await has_begun(ledger, run, 1)
    await is_safe(client, run, 1)
    spawner, engines = server.spawner_pid(), server.engine_pids()
    os.kill(spawner, signal.SIGKILL)
    assert await ended(client, run) == "success"
    assert ledger.done_twice() == []
    for pid in engines:
        is_gone(pid)
    assert server.spawner_pid() != spawner
