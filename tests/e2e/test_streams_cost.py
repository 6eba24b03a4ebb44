"""What an open stream costs the server: a socket. And what becomes of a run whose readers leave."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import pytest
from langgraph_sdk.client import LangGraphClient

from tests.e2e.ledger import Ledger
from tests.e2e.server import Server
from tests.e2e.waiting import eventually
from tests.e2e.wire import Reply, names_of, request

STREAMS = 200
#: A few threads may start when there is more to do at once; they are bounded, and streams keep none.
SOME = 8


def sockets(server: Server) -> int:
    return server.open_files(lambda place: place.startswith("socket:"))


def database_files(server: Server) -> int:
    return server.open_files(lambda place: ".sqlite3" in place)


def silent(**options: Any) -> dict[str, Any]:
    """A run that says nothing for an hour."""
    return {"assistant_id": "stress", "input": {"hang": "async"}, "stream_mode": "updates", **options}


def place_of(reply: Reply) -> tuple[str, str]:
    _, _, thread_id, _, run_id = reply.headers["content-location"].split("/")
    return thread_id, run_id


async def status_of(client: LangGraphClient, reply: Reply) -> str:
    return str((await client.runs.get(*place_of(reply)))["status"])


async def end_of(client: LangGraphClient, thread_id: str, run_id: str) -> str:
    """How a run ended, once it has. Nobody reads it meanwhile."""

    async def end() -> str:
        status = (await client.runs.get(thread_id, run_id))["status"]
        return "" if status in ("pending", "running") else status

    return await eventually(end)


async def test_two_hundred_silent_streams_hold_no_thread_and_no_database_file(
    server: Server, key: str, client: LangGraphClient
) -> None:
    async with AsyncExitStack() as stack:

        async def open_streams(count: int) -> list[Reply]:
            made = [request(server.url, key, "POST", "/runs/stream", silent()) for _ in range(count)]
            replies = await asyncio.gather(*(stack.enter_async_context(reply) for reply in made))
            await asyncio.gather(*(reply.read_to(b"event: updates") for reply in replies))
            return replies

        replies = await open_streams(SOME * 2)
        before = server.threads(), database_files(server), sockets(server)
        replies += await open_streams(STREAMS - len(replies))
        after = server.threads(), database_files(server), sockets(server)
        assert after[2] - before[2] == STREAMS - SOME * 2
        assert after[0] - before[0] <= SOME
        # A thread's connection has four: the database, its log, the log's index and the writers' queue.
        assert after[1] - before[1] <= SOME * 4

    async def all_freed() -> bool:
        return sockets(server) <= before[2] - SOME * 2

    async def all_cancelled() -> bool:
        return {await status_of(client, reply) for reply in replies} == {"interrupted"}

    await eventually(all_freed)
    await eventually(all_cancelled)


@pytest.mark.parametrize("there", [True, False])
async def test_two_hundred_silent_subscriptions_hold_no_thread_and_no_database_file(
    server: Server, key: str, client: LangGraphClient, there: bool
) -> None:
    thread_ids = [(await client.threads.create())["thread_id"] if there else str(uuid4()) for _ in range(20)]

    def subscribe(number: int) -> Reply:
        path = f"/threads/{thread_ids[number % len(thread_ids)]}/stream/events"
        return request(server.url, key, "POST", path, {"channels": ["values"]})

    async with AsyncExitStack() as stack:

        async def open_streams(count: int) -> None:
            replies = [await stack.enter_async_context(subscribe(number)) for number in range(count)]
            await asyncio.gather(*(reply.read_to(b": heartbeat") for reply in replies))

        await open_streams(SOME * 2)
        before = server.threads(), database_files(server), sockets(server)
        await open_streams(STREAMS - SOME * 2)
        after = server.threads(), database_files(server), sockets(server)
    # The client's own connection may come and go.
    assert abs(after[2] - before[2] - (STREAMS - SOME * 2)) <= 1
    assert after[0] - before[0] <= SOME
    assert after[1] - before[1] <= SOME * 4


@pytest.mark.parametrize("way", ["stream", "wait"])
async def test_a_run_whose_only_reader_leaves_is_cancelled(
    server: Server, key: str, client: LangGraphClient, way: str
) -> None:
    async with request(server.url, key, "POST", f"/runs/{way}", silent(on_disconnect="cancel")) as reply:
        assert await status_of(client, reply) in ("pending", "running")

    async def is_interrupted() -> bool:
        return await status_of(client, reply) == "interrupted"

    await eventually(is_interrupted)


async def test_a_run_whose_reader_leaves_before_the_answer_is_cancelled(
    server: Server, key: str, client: LangGraphClient
) -> None:
    thread_id = str(uuid4())
    reply = request(server.url, key, "POST", f"/threads/{thread_id}/runs/stream", silent(on_disconnect="cancel"))
    await reply.send()
    await reply.close()

    async def is_interrupted() -> bool:
        found = await client.threads.search(ids=[thread_id])
        return bool(found) and found[0]["status"] == "interrupted"

    await eventually(is_interrupted)


async def test_a_run_that_is_to_continue_does_so_without_readers(
    server: Server, key: str, client: LangGraphClient, ledger: Ledger
) -> None:
    plan = {"steps": 8, "delay": 0.3, "ledger": str(ledger.path)}
    body = {"assistant_id": "stress", "input": plan, "on_disconnect": "continue"}
    async with request(server.url, key, "POST", "/runs/stream", body) as reply:
        await reply.read_to(b"event: values")
    assert await end_of(client, *place_of(reply)) == "success"
    assert ledger.steps() == list(range(8))


async def test_a_reader_that_is_back_in_time_keeps_its_run_alive(
    server: Server, key: str, client: LangGraphClient
) -> None:
    body = {"assistant_id": "stress", "input": {"delay": 2}, "on_disconnect": "cancel"}
    async with request(server.url, key, "POST", "/runs/stream", body) as reply:
        pass
    async with request(server.url, key, "GET", reply.headers["location"]) as again:
        assert names_of(await again.read())[-1] == "end"
    assert await status_of(client, reply) == "success"


async def test_a_second_reader_keeps_a_run_alive(server: Server, key: str, client: LangGraphClient) -> None:
    body = {"assistant_id": "stress", "input": {"delay": 2}, "on_disconnect": "cancel"}
    first = request(server.url, key, "POST", "/runs/stream", body)
    async with first, request(server.url, key, "GET", first.headers["location"]) as second:
        await first.close()
        assert names_of(await second.read())[-1] == "end"
    assert await status_of(client, first) == "success"


async def test_a_run_is_cancelled_when_the_reader_that_came_back_leaves_too(
    server: Server, key: str, client: LangGraphClient
) -> None:
    async with request(server.url, key, "POST", "/runs/stream", silent(on_disconnect="cancel")) as reply:
        pass
    async with request(server.url, key, "GET", reply.headers["location"]) as again:
        # Longer than the grace after the first reader left.
        assert (await again.read_to(b": heartbeat\r\n\r\n" * 3)).count(b"heartbeat") >= 3

    async def is_interrupted() -> bool:
        return await status_of(client, reply) == "interrupted"

    await eventually(is_interrupted)


async def test_a_background_run_goes_on_when_its_readers_leave(
    server: Server, key: str, client: LangGraphClient
) -> None:
    thread = await client.threads.create()
    run = await client.runs.create(thread["thread_id"], "stress", input={"delay": 2})
    place = f"/threads/{run['thread_id']}/runs/{run['run_id']}"
    async with request(server.url, key, "GET", f"{place}/stream"):
        pass
    async with request(server.url, key, "GET", f"{place}/join"):
        pass
    assert await end_of(client, run["thread_id"], run["run_id"]) == "success"


async def test_a_join_may_ask_for_the_run_to_end_with_it(server: Server, key: str, client: LangGraphClient) -> None:
    thread = await client.threads.create()
    run = await client.runs.create(thread["thread_id"], "stress", input={"hang": "async"})
    place = f"/threads/{run['thread_id']}/runs/{run['run_id']}"
    async with request(server.url, key, "GET", f"{place}/stream?cancel_on_disconnect=true"):
        pass

    async def is_interrupted() -> bool:
        return (await client.runs.get(run["thread_id"], run["run_id"]))["status"] == "interrupted"

    await eventually(is_interrupted)
