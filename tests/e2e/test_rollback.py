"""Runs that are rolled back leave their thread as it was, whatever they were at and whoever dies meanwhile."""

from typing import Any

import pytest
from langgraph_sdk.client import LangGraphClient

from tests.e2e.ledger import Ledger
from tests.e2e.server import Server
from tests.e2e.waiting import eventually
from tests.e2e.wire import names_of, request


@pytest.fixture
async def thread_id(client: LangGraphClient) -> str:
    """A thread with a run behind it that waits for an answer."""
    thread_id = str((await client.threads.create())["thread_id"])
    await client.runs.wait(thread_id, "stress", input={"steps": 2, "interrupt_at": 1, "tokens": 2})
    return thread_id


async def seen(client: LangGraphClient, thread_id: str) -> Any:
    """All that a client sees of a thread but for when it was touched and what ran last."""
    thread: Any = await client.threads.get(thread_id)
    kept = ("status", "values", "interrupts", "error")
    history = await client.threads.get_history(thread_id, limit=100)
    return [thread[key] for key in kept], await client.threads.get_state(thread_id, subgraphs=True), history


async def has_begun(ledger: Ledger, run: Any, step: int) -> None:
    async def look() -> bool:
        return step in ledger.steps(run["run_id"])

    await eventually(look)


def slow(ledger: Ledger, **over: Any) -> dict[str, Any]:
    return {"steps": 50, "delay": 0.1, "tokens": 2, "ledger": str(ledger.path), **over}


async def test_a_cancelled_run_is_undone(
    server: Server, key: str, client: LangGraphClient, thread_id: str, ledger: Ledger
) -> None:
    before = await seen(client, thread_id)
    run = await client.runs.create(thread_id, "stress", input=slow(ledger))
    await has_begun(ledger, run, 2)
    path = f"/threads/{thread_id}/runs/{run['run_id']}"
    async with request(server.url, key, "GET", f"{path}/stream") as reader:
        await client.runs.cancel(thread_id, run["run_id"], wait=True, action="rollback")
        assert await seen(client, thread_id) == before
        assert names_of(await reader.read())[-2:] == ["cancel", "end"]
    left: Any = await client.runs.get(thread_id, run["run_id"])
    assert (left["status"], left["error"]["message"]) == ("error", "Rolled back by user")
    values: Any = await client.runs.wait(thread_id, "stress", command={"resume": "yes"})
    assert values["answers"] == ["yes"]


async def test_an_answer_is_undone(client: LangGraphClient, ledger: Ledger) -> None:
    thread_id = str((await client.threads.create())["thread_id"])
    await client.runs.wait(thread_id, "stress", input=slow(ledger, interrupt_at=1))
    before = await seen(client, thread_id)
    run = await client.runs.create(thread_id, "stress", command={"resume": "no"})
    await has_begun(ledger, run, 3)
    await client.runs.cancel(thread_id, run["run_id"], wait=True, action="rollback")
    assert await seen(client, thread_id) == before


async def test_the_first_run_leaves_an_empty_thread(client: LangGraphClient, ledger: Ledger) -> None:
    thread_id = str((await client.threads.create())["thread_id"])
    before = await seen(client, thread_id)
    run = await client.runs.create(thread_id, "stress", input=slow(ledger))
    await has_begun(ledger, run, 2)
    await client.runs.cancel(thread_id, run["run_id"], wait=True, action="rollback")
    assert await seen(client, thread_id) == before
    assert await client.threads.get_history(thread_id) == []


async def test_a_node_that_swallows_cancellation_is_undone_too(
    client: LangGraphClient, thread_id: str, ledger: Ledger
) -> None:
    before = await seen(client, thread_id)
    plan = slow(ledger, hang="async", hang_at=1, swallow_cancel=True)
    run = await client.runs.create(thread_id, "stress", input=plan)
    await has_begun(ledger, run, 1)
    await client.runs.cancel(thread_id, run["run_id"], wait=True, action="rollback")
    assert await seen(client, thread_id) == before


async def test_a_run_that_replaces_another_finds_nothing_of_it(
    client: LangGraphClient, thread_id: str, ledger: Ledger
) -> None:
    run = await client.runs.create(thread_id, "stress", input=slow(ledger))
    await has_begun(ledger, run, 2)
    before: Any = await client.threads.get(thread_id)
    values: Any = await client.runs.wait(
        thread_id, "stress", input={"steps": 1, "tokens": 1}, multitask_strategy="rollback"
    )
    assert len(values["messages"]) == len(before["values"]["messages"]) + 1
    assert (await client.runs.get(thread_id, run["run_id"]))["status"] == "error"
