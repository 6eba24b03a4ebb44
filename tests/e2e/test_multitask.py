"""Several runs on one thread, and threads that are deleted under their runs."""

import asyncio
from collections import Counter
from typing import Any
from uuid import uuid4

import httpx
import pytest
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import ConflictError, NotFoundError, UnprocessableEntityError

from tests.e2e.ledger import Ledger
from tests.e2e.server import Server, is_alive
from tests.e2e.waiting import eventually
from tests.e2e.wire import names_of, request


def said(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def texts(values: Any) -> list[str]:
    return [message["content"] for message in values["messages"]]


@pytest.fixture
async def thread_id(client: LangGraphClient) -> str:
    return str((await client.threads.create())["thread_id"])


async def has_begun(ledger: Ledger, run: Any, step: int = 0) -> None:
    async def look() -> bool:
        return step in ledger.steps(run["run_id"])

    await eventually(look)


async def test_of_fifty_simultaneous_runs_one_is_taken_and_the_others_rejected(
    server: Server, key: str, client: LangGraphClient, thread_id: str
) -> None:
    body = {"assistant_id": "stress", "input": {"delay": 3600}, "multitask_strategy": "reject"}
    async with httpx.AsyncClient(base_url=server.url, headers={"x-api-key": key}, timeout=60) as http:
        replies = await asyncio.gather(*(http.post(f"/threads/{thread_id}/runs", json=body) for _ in range(50)))
    assert Counter(reply.status_code for reply in replies) == {200: 1, 409: 49}
    [run] = await client.runs.list(thread_id)
    assert [reply.json()["run_id"] for reply in replies if reply.status_code == 200] == [run["run_id"]]
    await client.runs.cancel(thread_id, run["run_id"], wait=True)


async def test_fifty_simultaneous_runs_make_one_thread(server: Server, key: str, client: LangGraphClient) -> None:
    thread_id = str(uuid4())
    body = {"assistant_id": "echo", "input": said("hello"), "multitask_strategy": "enqueue"}
    async with httpx.AsyncClient(base_url=server.url, headers={"x-api-key": key}, timeout=60) as http:
        replies = await asyncio.gather(*(http.post(f"/threads/{thread_id}/runs/wait", json=body) for _ in range(50)))
    assert {reply.status_code for reply in replies} == {200}
    assert len(texts((await client.threads.get_state(thread_id))["values"])) == 100
    runs = await client.runs.list(thread_id, limit=100)
    assert Counter(run["status"] for run in runs) == {"success": 50}


@pytest.mark.parametrize("strategy", ["enqueue", "interrupt", "rollback"])
async def test_of_fifty_simultaneous_runs_one_at_a_time_is_active(
    client: LangGraphClient, ledger: Ledger, strategy: Any
) -> None:
    thread_id = str(uuid4())
    plan: Any = {"steps": 2, "delay": 0.01, "ledger": str(ledger.path)}
    await asyncio.gather(
        *(
            client.runs.create(thread_id, "stress", input=plan, multitask_strategy=strategy, if_not_exists="create")
            for _ in range(50)
        )
    )
    runs = await client.runs.list(thread_id, limit=100)
    await client.runs.join(thread_id, runs[0]["run_id"])
    runs = await client.runs.list(thread_id, limit=100)
    assert len(runs) == 50 and runs[0]["status"] == "success"
    ended = {"enqueue": {"success"}, "interrupt": {"success", "interrupted"}, "rollback": {"success", "error"}}
    assert {run["status"] for run in runs} <= ended[strategy]
    order = [run["run_id"] for run in reversed(runs)]
    begun = list(dict.fromkeys(line["run_id"] for line in ledger.lines()))
    assert begun == [run_id for run_id in order if run_id in begun]
    # Nobody began before the one before had ended: their lines do not mix.
    assert [line["run_id"] for line in ledger.lines()] == [
        run_id for run_id in begun for line in ledger.lines() if line["run_id"] == run_id
    ]


async def test_a_key_makes_one_run_of_fifty_requests(client: LangGraphClient, ledger: Ledger) -> None:
    thread_id = str((await client.threads.create())["thread_id"])

    async def create(**over: Any) -> Any:
        return await client.runs.create(
            thread_id, "stress", input={"steps": 1, **over}, headers={"Idempotency-Key": "one"}
        )

    made = await asyncio.gather(*(create() for _ in range(50)))
    assert len({run["run_id"] for run in made}) == 1 == len(await client.runs.list(thread_id))
    with pytest.raises(UnprocessableEntityError):
        await create(steps=2)


async def test_enqueued_runs_are_executed_in_the_order_of_their_creation(
    client: LangGraphClient, thread_id: str
) -> None:
    numbers = [str(number) for number in range(8)]
    for number in numbers:
        run = await client.runs.create(thread_id, "echo", input=said(number), multitask_strategy="enqueue")
    await client.runs.join(thread_id, run["run_id"])
    state = await client.threads.get_state(thread_id)
    assert texts(state["values"]) == [text for number in numbers for text in (number, f"echo: {number}")]
    assert (await client.threads.get(thread_id))["status"] == "idle"


async def test_a_thread_runs_one_run_at_a_time(client: LangGraphClient, thread_id: str, ledger: Ledger) -> None:
    plan: Any = {"steps": 2, "delay": 0.1, "ledger": str(ledger.path)}
    runs = [await client.runs.create(thread_id, "stress", input=plan, multitask_strategy="enqueue") for _ in range(3)]
    await client.runs.join(thread_id, runs[-1]["run_id"])
    assert [line["run_id"] for line in ledger.lines()] == [run["run_id"] for run in runs for _ in range(2)]


async def test_an_interrupting_run_ends_the_active_one_and_then_runs(
    client: LangGraphClient, thread_id: str, ledger: Ledger
) -> None:
    plan: Any = {"steps": 2, "delay": 3600, "ledger": str(ledger.path)}
    first = await client.runs.create(thread_id, "stress", input=plan)
    waiting = await client.runs.create(thread_id, "stress", input=plan, multitask_strategy="enqueue")
    await has_begun(ledger, first)
    values: Any = await client.runs.wait(
        thread_id, "stress", input={**plan, "delay": 0}, multitask_strategy="interrupt"
    )
    assert values["done"] == [0, 1]
    statuses = {run["run_id"]: run["status"] for run in await client.runs.list(thread_id)}
    assert (statuses.pop(first["run_id"]), statuses.pop(waiting["run_id"])) == ("interrupted", "interrupted")
    [(last, status)] = statuses.items()
    assert status == "success"
    assert [line["run_id"] for line in ledger.lines()] == [first["run_id"], last, last]


async def test_state_can_not_be_changed_under_an_active_run(client: LangGraphClient, thread_id: str) -> None:
    await client.runs.wait(thread_id, "stress", input={})
    run = await client.runs.create(thread_id, "stress", input={"delay": 3600})
    with pytest.raises(ConflictError):
        await client.threads.update_state(thread_id, {"step": 7})
    await client.runs.cancel(thread_id, run["run_id"], wait=True)
    await client.threads.update_state(thread_id, {"step": 7})
    assert (await client.threads.get_state(thread_id))["values"]["step"] == 7  # type: ignore[call-overload]


# Deleted threads.


async def create_again(client: LangGraphClient, thread_id: str) -> None:
    """Take a deleted thread's id, as soon as what it had is gone."""

    async def create() -> bool:
        try:
            await client.threads.create(thread_id=thread_id)
        except ConflictError:
            return False
        return True

    await eventually(create)


BUSY = {"steps": 100, "delay": 0.1, "tokens": 1}
DEAF = {"steps": 3, "tokens": 1, "hang": "async", "hang_at": 2, "swallow_cancel": True}


@pytest.mark.parametrize("plan", [BUSY, DEAF], ids=["busy", "deaf"])
async def test_a_thread_that_is_deleted_under_its_run_leaves_nothing_to_its_successor(
    server: Server, key: str, client: LangGraphClient, thread_id: str, ledger: Ledger, plan: dict[str, Any]
) -> None:
    run = await client.runs.create(thread_id, "stress", input={**plan, "ledger": str(ledger.path)})
    await has_begun(ledger, run, 2)
    async with request(server.url, key, "GET", f"/threads/{thread_id}/runs/{run['run_id']}/stream") as reader:
        await reader.read_to(b"event: metadata")
        await client.threads.delete(thread_id)
        assert names_of(await reader.read())[-1] == "end"
    with pytest.raises(NotFoundError):
        await client.threads.get_state(thread_id)
    await create_again(client, thread_id)
    # The id was not free while its engine could still write.
    assert plan is BUSY or not is_alive(ledger.lines()[-1]["pid"])
    assert (await client.threads.get_state(thread_id))["values"] == {}
    assert await client.threads.get_history(thread_id) == []
    assert await client.runs.list(thread_id) == []
    steps = len(ledger.lines())
    values = await client.runs.wait(thread_id, "echo", input=said("hello"))
    assert texts(values) == ["hello", "echo: hello"]
    assert len(await client.threads.get_history(thread_id)) == 3
    assert len(ledger.lines()) == steps


async def test_a_deleted_run_frees_its_thread_for_the_next(
    client: LangGraphClient, thread_id: str, ledger: Ledger
) -> None:
    plan: Any = {"delay": 3600, "ledger": str(ledger.path)}
    first = await client.runs.create(thread_id, "stress", input=plan)
    await has_begun(ledger, first)
    second = await client.runs.create(thread_id, "echo", input=said("hello"), multitask_strategy="enqueue")
    await client.runs.delete(thread_id, first["run_id"])
    await client.runs.join(thread_id, second["run_id"])
    assert (await client.runs.get(thread_id, second["run_id"]))["status"] == "success"
