"""A server that is told to stop cuts streams, hands runs back, leaves nothing behind, and goes on after a restart."""

import asyncio
import json
import signal
import socket
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient

from tests.e2e.ledger import Ledger
from tests.e2e.server import DidNotStart, Server, is_alive
from tests.e2e.servers import MakeServer
from tests.e2e.waiting import eventually, until
from tests.e2e.wire import events_of, ids_of, names_of, request, whole_frames

LONG = {"steps": 5, "delay": 0.8}
SHORT = {"steps": 2, "delay": 0.4}


@dataclass
class Stop:
    """What a SIGTERM found and what came of it; `client` calls the server that was started afterwards."""

    server: Server
    ledger: Ledger
    exit_code: int
    #: The spawner and the engines when it came.
    family: set[int]
    #: A run that ended in the time that runs are given, its stream, and whether that was marked as complete.
    short: Any
    short_stream: bytes
    short_complete: bool
    #: A run that did not end in time, what its reader got, and whether that was marked as complete.
    long: Any
    kept: bytes
    kept_complete: bool
    #: What the SDK gave to somebody who streamed such a run all the while.
    parts: list[Any]


@pytest.fixture(scope="module")
def stop(make_module_server: MakeServer, key: str, tmp_path_factory: pytest.TempPathFactory) -> Stop:
    server = make_module_server(DRAIN_SECONDS="1.5").start()
    return asyncio.run(_stop(server, key, Ledger(tmp_path_factory.mktemp("stop") / "ledger")))


async def _stop(server: Server, key: str, ledger: Ledger) -> Stop:
    async with get_client(url=f"{server.url}/api", api_key=key) as client:
        long = await create(client, ledger, LONG)
        streaming = asyncio.create_task(stream_with_sdk(client, ledger))
        flooded = await create(client, ledger, {"tokens": 20_000, "token_bytes": 100}, "messages-tuple")
        async with reader_of(server, key, long) as reader, reader_of(server, key, flooded):
            reading = asyncio.create_task(reader.read())
            await all_in_step(client, ledger, 1)
            short = await create(client, ledger, SHORT)
            async with reader_of(server, key, short) as short_reader:
                await short_reader.read_to(b"event: metadata")
                family = {server.spawner_pid(), *server.engine_pids()}
                server.signal(signal.SIGTERM)
                short_stream = await short_reader.read()
            kept = await reading
        exit_code = await asyncio.to_thread(server.await_exit)
        server.start()
        parts = await streaming
        await client.runs.join(long["thread_id"], long["run_id"])
    return Stop(
        server,
        ledger,
        exit_code,
        family,
        short,
        short_stream,
        short_reader.complete,
        long,
        kept,
        reader.complete,
        parts,
    )


async def create(client: LangGraphClient, ledger: Ledger, plan: dict[str, Any], mode: str = "updates") -> Any:
    thread = await client.threads.create()
    plan = {**plan, "ledger": str(ledger.path)}
    return await client.runs.create(thread["thread_id"], "stress", input=plan, stream_mode=mode)  # type: ignore[arg-type]


async def stream_with_sdk(client: LangGraphClient, ledger: Ledger) -> list[Any]:
    thread = await client.threads.create()
    plan = {**LONG, "ledger": str(ledger.path)}
    return [p async for p in client.runs.stream(thread["thread_id"], "stress", input=plan, stream_mode="updates")]


async def all_in_step(client: LangGraphClient, ledger: Ledger, step: int) -> None:
    """Wait until both long runs are in this step, and the steps before it in their checkpoints."""

    async def look() -> bool:
        threads = await client.threads.search(status="busy")
        states = [await client.threads.get_state(thread["thread_id"]) for thread in threads]
        values: list[Any] = [state["values"] for state in states]
        safe = [value["plan"] for value in values if value and value.get("step") == step]
        begun = [line for line in ledger.lines() if line["step"] == step]
        return len(safe) == len(begun) == 2

    await eventually(look)


def place_of(run: Any) -> str:
    return f"/threads/{run['thread_id']}/runs/{run['run_id']}/stream"


def reader_of(server: Server, key: str, run: Any, **headers: str) -> Any:
    return request(server.url, key, "GET", place_of(run), **headers)


def crashes_of(server: Server, run_id: str) -> int:
    """What the run is charged with; no client can see it."""
    with closing(sqlite3.connect(server.data_dir / "db.sqlite3")) as database:
        [(crashes,)] = database.execute("SELECT crashes FROM runs_run WHERE run_id = ?", [UUID(run_id).hex])
    return int(crashes)


@pytest.fixture
async def client(stop: Stop, key: str) -> AsyncIterator[LangGraphClient]:
    async with get_client(url=stop.server.url, api_key=key) as client:
        yield client


def test_a_stopped_server_exits_with_zero_and_leaves_no_process(stop: Stop) -> None:
    assert stop.exit_code == 0
    assert len(stop.family) == 3
    until(lambda: not any(map(is_alive, stop.family)))


def test_a_stop_is_no_error(stop: Stop) -> None:
    lines = [json.loads(line) for line in stop.server.log().splitlines() if line.startswith("{")]
    assert {line["event"] for line in lines if line["level"] == "error"} == {"graph broken failed to load"}


async def test_a_run_that_ends_in_the_time_it_is_given_ends_as_ever(stop: Stop, client: LangGraphClient) -> None:
    run = await client.runs.get(stop.short["thread_id"], stop.short["run_id"])
    assert run["status"] == "success" and stop.ledger.attempts(run["run_id"]) == [1]
    assert names_of(stop.short_stream)[-1] == "end" and stop.short_complete


async def test_a_run_that_does_not_is_handed_back_and_goes_on(stop: Stop, client: LangGraphClient) -> None:
    run = await client.runs.get(stop.long["thread_id"], stop.long["run_id"])
    assert run["status"] == "success"
    assert stop.ledger.attempts(run["run_id"]) == [1, 2]
    assert stop.ledger.done_twice() == []
    assert crashes_of(stop.server, run["run_id"]) == 0
    state = await client.threads.get_state(run["thread_id"])
    assert state["values"]["done"] == list(range(LONG["steps"]))  # type: ignore[arg-type, call-overload]


async def test_its_stream_is_cut_such_that_clients_notice_and_resume(stop: Stop, key: str) -> None:
    assert not stop.kept_complete
    kept = whole_frames(events_of(stop.kept))
    assert "end" not in names_of(kept)
    async with reader_of(stop.server, key, stop.long, Last_Event_ID=str(ids_of(kept)[-1])) as reply:
        rest = events_of(await reply.read())
    async with reader_of(stop.server, key, stop.long) as reply:
        assert events_of(await reply.read()) == kept + rest


def test_the_sdk_streams_over_the_restart_without_a_loss_or_a_repetition(stop: Stop) -> None:
    ids = [int(part.id) for part in stop.parts]
    assert ids == sorted(set(ids))
    assert [part.data["attempt"] for part in stop.parts if part.event == "metadata"] == [1, 2]
    steps = [part.data["work"]["step"] for part in stop.parts if part.event == "updates" and "work" in part.data]
    assert steps == [1, 2, 3, 4, 5]


# Servers that are told more, or less.


async def test_a_second_signal_does_not_wait_for_runs(make_server: MakeServer, key: str, ledger: Ledger) -> None:
    server = make_server(DRAIN_SECONDS="3600").start()
    async with get_client(url=server.url, api_key=key) as client:
        run = await create(client, ledger, {"steps": 3, "delay": 1})
        until(ledger.lines)
        async with reader_of(server, key, run) as reader:
            family = {server.spawner_pid(), *server.engine_pids()}
            server.signal(signal.SIGINT)
            until(lambda: "Stopping" in server.log())
            assert await asyncio.to_thread(server.stop) == 0
            await reader.read()
        assert not reader.complete
        until(lambda: not any(map(is_alive, family)))
        server.start()
        await client.runs.join(run["thread_id"], run["run_id"])
        assert (await client.runs.get(run["thread_id"], run["run_id"]))["status"] == "success"


def test_a_server_without_runs_stops_at_once(make_server: MakeServer) -> None:
    server = make_server(DRAIN_SECONDS="3600").start()
    assert server.stop() == 0


def test_a_second_server_on_the_same_data_is_refused_in_one_sentence(server: Server) -> None:
    second = Server(server.data_dir)
    with pytest.raises(DidNotStart) as refusal:
        second.start()
    [sentence] = str(refusal.value).splitlines()
    assert "Another server uses" in sentence and "DEERFLOW_DATA_DIR" in sentence
    assert second.await_exit() == 1


def test_a_port_in_use_is_refused_in_one_sentence(make_server: MakeServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = make_server()
        with pytest.raises(DidNotStart) as refusal:
            server.start(PORT=str(port))
    [sentence] = str(refusal.value).splitlines()
    assert f"127.0.0.1:{port}" in sentence and "PORT" in sentence
    assert server.await_exit() == 1


def test_a_request_that_came_before_the_stop_is_answered_and_told_to_part(make_server: MakeServer, key: str) -> None:
    server = make_server().start()
    port = int(server.url.rpartition(":")[2])
    body = b'{"metadata": {"came": "in two parts"}}'
    head = (
        f"POST /threads HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port)) as busy, socket.create_connection(("127.0.0.1", port)) as idle:
        busy.sendall(head.encode() + body[:10])
        # Answered on another connection: by then the first request has begun to arrive.
        idle.sendall(b"GET /ok HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in idle.recv(1000)
        server.signal(signal.SIGTERM)
        assert idle.recv(1000) == b"", "an idle connection is closed"
        # Longer than the rest of the stop takes; a slow client is no reason to lose what it asks.
        time.sleep(3)
        busy.sendall(body[10:])
        answer = b"".join(iter(lambda: busy.recv(1000), b""))
    assert b"200 OK" in answer.splitlines()[0]
    assert b"connection: close" in answer.lower() and b'"came":"in two parts"' in answer
    assert server.await_exit() == 0
