"""The stream of a whole thread: it stays open from run to run, and can be read again."""

import asyncio
from typing import Any

import pytest
from langgraph_sdk.client import LangGraphClient

from tests.e2e.waiting import eventually

HELLO: Any = {"messages": [{"role": "user", "content": "hello"}]}


async def read(client: LangGraphClient, thread_id: str, runs: int, **options: Any) -> list[Any]:
    """The parts of a thread's stream until so many runs are done."""
    parts = []
    async for part in await client.threads.join_stream(thread_id, **options):
        parts.append(part)
        runs -= part.data.get("status") == "run_done" if isinstance(part.data, dict) else 0
        if not runs:
            break
    return parts


@pytest.fixture
async def thread_id(client: LangGraphClient) -> str:
    return str((await client.threads.create())["thread_id"])


async def test_it_goes_on_from_run_to_run(client: LangGraphClient, thread_id: str) -> None:
    await client.runs.wait(thread_id, "echo", input=HELLO)
    reading = asyncio.create_task(read(client, thread_id, 2))
    await asyncio.sleep(0.5)  # Whatever was before it began to read is not shown.
    runs = []
    for _ in range(2):
        runs.append(await client.runs.create(thread_id, "echo", input=HELLO))
        await client.runs.join(thread_id, runs[-1]["run_id"])
    parts = await reading
    assert [part.event for part in parts] == ["metadata", "values", "values", "metadata"] * 2
    assert [part.data["run_id"] for part in parts if part.event == "metadata"] == [
        run["run_id"] for run in runs for _ in range(2)
    ]


async def test_it_is_read_again_from_any_event(client: LangGraphClient, thread_id: str) -> None:
    for _ in range(2):
        run = await client.runs.create(thread_id, "tokens", input=HELLO, stream_mode=["messages", "updates"])
        await client.runs.join(thread_id, run["run_id"])
    whole = await read(client, thread_id, 2, last_event_id="0")
    assert await read(client, thread_id, 2, last_event_id="-1") == whole
    for cut in (1, len(whole) // 2, len(whole) - 3):
        done = sum(part.event == "metadata" and "status" in part.data for part in whole[:cut])
        assert await read(client, thread_id, 2 - done, last_event_id=whole[cut - 1].id) == whole[cut:]


@pytest.mark.parametrize(("mode", "shown"), [("lifecycle", set()), ("state_update", {"values"})])
async def test_a_mode_shows_its_part(client: LangGraphClient, thread_id: str, mode: Any, shown: set[str]) -> None:
    run = await client.runs.create(thread_id, "tokens", input=HELLO, stream_mode=["values", "updates"])
    await client.runs.join(thread_id, run["run_id"])
    parts = await read(client, thread_id, 1, last_event_id="0", stream_mode=mode)
    assert {part.event for part in parts} == shown | {"metadata"}


async def test_it_ends_with_its_thread(client: LangGraphClient, thread_id: str) -> None:
    reading = asyncio.create_task(read(client, thread_id, 1))

    async def ended() -> bool:
        return reading.done()

    await client.threads.delete(thread_id)
    await eventually(ended)
