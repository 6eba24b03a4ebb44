"""Subscriptions to the events of a thread: from before it is there, over its runs, to its end."""

import asyncio
from typing import Any
from uuid import uuid4

from langgraph_sdk.client import LangGraphClient

from tests.e2e.server import Server
from tests.e2e.wire import HEARTBEAT, Reply, events_of, ids_of, names_of, request, whole_frames

HELLO: Any = {"messages": [{"role": "user", "content": "hello"}]}


def subscribe(server: Server, key: str, thread_id: str, **over: Any) -> Reply:
    body = {"channels": ["values", "updates", "lifecycle"], **over}
    return request(server.url, key, "POST", f"/threads/{thread_id}/stream/events", body)


async def read_runs(reply: Reply, count: int) -> bytes:
    """The body so far, once so many runs are done."""
    async with asyncio.timeout(60):
        while reply.body.count(b'"completed"') < count and await reply.more():
            pass
    return whole_frames(events_of(reply.body))


async def test_it_opens_before_its_thread_and_ends_with_it(server: Server, key: str, client: LangGraphClient) -> None:
    thread_id = str(uuid4())
    async with subscribe(server, key, thread_id) as early:
        assert early.status == 200
        await early.read_to(HEARTBEAT)
        for count in (1, 2):
            run = await client.runs.create(thread_id, "echo", input=HELLO, if_not_exists="create")
            await client.runs.join(thread_id, run["run_id"])
            await read_runs(early, count)
        whole = await read_runs(early, 2)
        assert names_of(whole) == ["lifecycle", "values", "values", "lifecycle"] * 2
        ids = ids_of(whole)
        assert ids == sorted(set(ids))
        for number in (1, 4, 6):
            async with subscribe(server, key, thread_id, since=ids[number - 1]) as again:
                rest = await read_runs(again, 2 if number < 4 else 1)
            assert whole.endswith(rest) and ids_of(rest) == ids[number:]
        async with subscribe(server, key, thread_id) as late:
            assert names_of(await read_runs(late, 1))[0] == "values"
        await client.threads.delete(thread_id)
        async with asyncio.timeout(10):
            await early.read()
        assert early.complete
