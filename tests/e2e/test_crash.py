"""A server that was killed in the middle of its work, and started again on the same data directory."""

import asyncio
import warnings
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient

from tests.e2e.ledger import Ledger
from tests.e2e.server import Server, is_alive
from tests.e2e.servers import MakeServer
from tests.e2e.waiting import eventually, until
from tests.e2e.wire import events_of, ids_of, names_of, request, whole_frames

#: Long enough in a step that on a busy machine too all runs are once in the same one.
PLAN = {"steps": 3, "delay": 4}


@dataclass
class Crash:
    """What was there before the server was killed, and what came of it after its restart."""

    server: Server
    ledger: Ledger
    #: The server's spawner and engines when it was killed.
    family: set[int]
    #: A run that had ended, and its stream as it was read then.
    finished: Any
    finished_stream: bytes
    #: A run that was torn, what its reader had got by then, and whether that claimed to be all.
    torn: Any
    kept: bytes
    kept_all: bool
    #: A run that waited for the torn one.
    waiting: Any
    #: What the SDK gave to those who streamed a run and who waited for one all the while.
    parts: list[Any]
    values: Any


@pytest.fixture(scope="module")
def crash(make_module_server: MakeServer, key: str, tmp_path_factory: pytest.TempPathFactory) -> Crash:
    return asyncio.run(_crash(make_module_server().start(), key, Ledger(tmp_path_factory.mktemp("crash") / "ledger")))


async def _crash(server: Server, key: str, ledger: Ledger) -> Crash:
    async with get_client(url=f"{server.url}/api", api_key=key) as client:
        finished = await create(client, ledger, steps=3, delay=0)
        await client.runs.join(finished["thread_id"], finished["run_id"])
        finished_stream = await stream_of(server, key, finished)
        torn = await create(client, ledger)
        waiting = await create(client, ledger, torn["thread_id"], steps=1, delay=0)
        streaming = asyncio.create_task(stream_with_sdk(client, ledger))
        waited = asyncio.create_task(wait_with_sdk(client, ledger))
        async with request(server.url, key, "GET", place_of(torn)) as reader:
            reading = asyncio.create_task(reader.read())
            await all_in_step(client, ledger, 1, runs=3)
            family = {server.spawner_pid(), *server.engine_pids()}
            server.kill()
            kept = whole_frames(events_of(await reading))
            kept_all = reader.complete
        server.start()
        parts, values = await streaming, await waited
        for run in (torn, waiting):
            await client.runs.join(run["thread_id"], run["run_id"])
    return Crash(
        server, ledger, family, finished, finished_stream, torn, kept, kept_all, waiting, parts=parts, values=values
    )


async def create(client: LangGraphClient, ledger: Ledger, thread_id: str | None = None, **plan: Any) -> Any:
    thread_id = thread_id or (await client.threads.create())["thread_id"]
    return await client.runs.create(
        thread_id,
        "stress",
        input={**PLAN, "ledger": str(ledger.path), **plan},
        stream_mode=["values", "updates"],
        multitask_strategy="enqueue",
    )


async def stream_with_sdk(client: LangGraphClient, ledger: Ledger) -> list[Any]:
    thread = await client.threads.create()
    plan = {**PLAN, "ledger": str(ledger.path)}
    stream = client.runs.stream(thread["thread_id"], "stress", input=plan, stream_mode=["values", "updates"])  # type: ignore[call-overload]
    return [part async for part in stream]


async def wait_with_sdk(client: LangGraphClient, ledger: Ledger) -> Any:
    thread = await client.threads.create()
    with warnings.catch_warnings():
        # The SDK says that it reconnects.
        warnings.simplefilter("ignore")
        return await client.runs.wait(thread["thread_id"], "stress", input={**PLAN, "ledger": str(ledger.path)})


async def all_in_step(client: LangGraphClient, ledger: Ledger, step: int, *, runs: int) -> None:
    """Wait until so many runs are in this step, and the steps before it in their checkpoints."""

    async def look() -> bool:
        threads = await client.threads.search(status="busy")
        states = [await client.threads.get_state(thread["thread_id"]) for thread in threads]
        safe = [state["values"].get("step") == step for state in states if state["values"]]  # type: ignore[union-attr]
        begun = [line for line in ledger.lines() if line["step"] == step]
        return len(safe) == runs and all(safe) and len(begun) >= runs

    await eventually(look)


def place_of(run: Any) -> str:
    return f"/threads/{run['thread_id']}/runs/{run['run_id']}/stream"


async def stream_of(server: Server, key: str, run: Any, after: int | None = None) -> bytes:
    headers = {} if after is None else {"Last_Event_ID": str(after)}
    async with request(server.url, key, "GET", place_of(run), **headers) as reply:
        stream = await reply.read()
        assert reply.complete
        return events_of(stream)


@pytest.fixture
async def client(crash: Crash, key: str) -> AsyncIterator[LangGraphClient]:
    async with get_client(url=crash.server.url, api_key=key) as client:
        yield client


def test_a_killed_server_takes_its_engines_along(crash: Crash) -> None:
    assert len(crash.family) == 3
    until(lambda: not any(map(is_alive, crash.family)))


async def test_a_torn_run_goes_on_and_repeats_no_finished_step(crash: Crash, client: LangGraphClient) -> None:
    run = await client.runs.get(crash.torn["thread_id"], crash.torn["run_id"])
    assert run["status"] == "success"
    assert crash.ledger.attempts(run["run_id"]) == [1, 2]
    assert sorted(set(crash.ledger.steps(run["run_id"]))) == list(range(PLAN["steps"]))  # type: ignore[arg-type]
    assert crash.ledger.done_twice() == []


async def test_a_run_that_waited_is_executed_after_the_torn_one(crash: Crash, client: LangGraphClient) -> None:
    run = await client.runs.get(crash.waiting["thread_id"], crash.waiting["run_id"])
    assert run["status"] == "success"
    order = [line["run_id"] for line in crash.ledger.lines() if line["run_id"] in (crash.torn["run_id"], run["run_id"])]
    assert order[-1] == run["run_id"] and order.count(run["run_id"]) == 1
    assert (await client.threads.get(run["thread_id"]))["status"] == "idle"


async def test_a_reader_that_comes_back_gets_exactly_the_rest(crash: Crash, key: str) -> None:
    assert not crash.kept_all and b"event: updates" in crash.kept
    last = ids_of(crash.kept)[-1]
    rest = await stream_of(crash.server, key, crash.torn, last)
    assert ids_of(rest)[0] > last and names_of(rest)[-1] == "end"
    assert crash.kept + rest == await stream_of(crash.server, key, crash.torn)


async def test_the_sdk_streams_over_the_crash_without_a_loss_or_a_repetition(
    crash: Crash, client: LangGraphClient
) -> None:
    ids = [int(part.id) for part in crash.parts]
    assert ids == sorted(set(ids))
    run_id = crash.parts[0].data["run_id"]
    [thread] = [t for t in await client.threads.search(limit=100) if run_id in await run_ids(client, t)]
    assert [part async for part in client.runs.join_stream(thread["thread_id"], run_id)] == crash.parts
    assert [part.data["attempt"] for part in crash.parts if part.event == "metadata"] == [1, 2]


async def run_ids(client: LangGraphClient, thread: Any) -> list[str]:
    return [run["run_id"] for run in await client.runs.list(thread["thread_id"])]


def test_the_sdk_waits_over_the_crash(crash: Crash) -> None:
    assert crash.values["done"] == list(range(PLAN["steps"]))  # type: ignore[arg-type]


async def test_a_finished_run_is_read_again_after_the_restart(crash: Crash, key: str) -> None:
    whole = crash.finished_stream
    assert await stream_of(crash.server, key, crash.finished) == whole
    for number in ids_of(whole)[:-1]:
        rest = whole.partition(b"id: %d\r\n\r\n" % number)[2]
        assert await stream_of(crash.server, key, crash.finished, number) == rest
    assert names_of(await stream_of(crash.server, key, crash.finished, ids_of(whole)[-1])) == ["end"]


async def test_state_and_history_are_as_they_were(crash: Crash, client: LangGraphClient) -> None:
    thread_id = crash.finished["thread_id"]
    state = await client.threads.get_state(thread_id)
    assert state["values"]["done"] == [0, 1, 2]  # type: ignore[call-overload]
    assert state["values"] == (await client.threads.get(thread_id))["values"]
    assert len(await client.threads.get_history(thread_id)) == 6
