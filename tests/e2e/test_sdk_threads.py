"""What the official Python SDK does with whole threads: seeded, copied, pruned, measured, searched, left to end."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import ConflictError, NotFoundError, UnprocessableEntityError

from tests.e2e.server import Server
from tests.e2e.waiting import eventually

HELLO = {"messages": [{"role": "user", "content": "hello"}]}
SAID = {"messages": [{"role": "assistant", "content": "hi there"}]}

#: As LangGraph sees a run: the input is given, then taken, then answered.
SPOKEN = [(HELLO, "__input__"), (HELLO, "__start__"), (SAID, "say")]


@pytest.fixture
async def client(server: Server, key: str) -> AsyncIterator[LangGraphClient]:
    async with get_client(url=server.url, api_key=key) as client:
        yield client


def texts(values: Any) -> list[str]:
    return [message["content"] for message in values["messages"]]


def steps(*updates: tuple[Any, str]) -> list[dict[str, Any]]:
    return [{"updates": [{"values": values, "as_node": node}]} for values, node in updates]


async def ran(client: LangGraphClient, times: int = 1) -> str:
    thread = await client.threads.create()
    for _ in range(times):
        await client.runs.wait(thread["thread_id"], "echo", input=HELLO)
    return str(thread["thread_id"])


async def test_a_thread_begins_with_its_supersteps(client: LangGraphClient) -> None:
    supersteps = steps(*SPOKEN)
    made = await client.threads.create(graph_id="echo", supersteps=supersteps)
    assert texts(made["values"]) == ["hello", "hi there"] and made["status"] == "idle"
    state = await client.threads.get_state(made["thread_id"])
    assert texts(state["values"]) == ["hello", "hi there"] and state["next"] == []
    history = await client.threads.get_history(made["thread_id"])
    assert len(history) == 3 and {entry["metadata"]["graph_id"] for entry in history} == {"echo"}
    values: Any = await client.runs.wait(made["thread_id"], "echo", input=HELLO)
    assert texts(values) == ["hello", "hi there", "hello", "echo: hello"]


async def test_a_command_and_a_copied_checkpoint_are_supersteps_too(client: LangGraphClient) -> None:
    supersteps: Any = steps(*SPOKEN[:2], (None, "__copy__"))
    supersteps.append({"updates": [{"values": None, "command": {"update": SAID}, "as_node": "say"}]})
    made = await client.threads.create(graph_id="echo", supersteps=supersteps)
    assert texts(made["values"]) == ["hello", "hi there"]


async def test_of_supersteps_that_a_graph_does_not_take_nothing_is_left(client: LangGraphClient) -> None:
    for wrong in (steps(*SPOKEN[:2], (SAID, "nowhere")), steps(({"messages": [{"role": 5}]}, "say"))):
        thread_id = str(uuid4())
        with pytest.raises(UnprocessableEntityError):
            await client.threads.create(thread_id=thread_id, graph_id="echo", supersteps=wrong)
        with pytest.raises(NotFoundError):
            await client.threads.get(thread_id)

    async def is_free() -> bool:
        try:
            await client.threads.create(thread_id=thread_id)
        except ConflictError:
            return False
        return True

    await eventually(is_free)
    assert (await client.threads.get_state(thread_id))["values"] == {}


async def test_a_copy_goes_on_by_itself(client: LangGraphClient) -> None:
    thread_id = await ran(client)
    copied: Any = await client.threads.copy(thread_id)
    assert texts(copied["values"]) == ["hello", "echo: hello"] and copied["thread_id"] != thread_id
    both = [await client.threads.get_history(name) for name in (thread_id, copied["thread_id"])]
    assert [entry["values"] for entry in both[0]] == [entry["values"] for entry in both[1]]
    await client.runs.wait(copied["thread_id"], "echo", input=HELLO)
    assert len((await client.threads.get(copied["thread_id"]))["values"]["messages"]) == 4  # type: ignore[call-overload,index]
    assert texts((await client.threads.get(thread_id))["values"]) == ["hello", "echo: hello"]


async def test_a_busy_thread_is_copied_as_it_was_committed(client: LangGraphClient) -> None:
    thread_id = await ran(client)
    config: Any = {"configurable": {"sleep": 5}}
    run = await client.runs.create(thread_id, "slow", input=HELLO, config=config)
    copied: Any = await client.threads.copy(thread_id)
    await client.runs.cancel(thread_id, run["run_id"], wait=True)
    assert "hello" in texts(copied["values"]) and copied["status"] in ("idle", "interrupted")


async def test_pruning_keeps_the_latest_state_and_what_goes_on_from_it(client: LangGraphClient) -> None:
    thread_id = await ran(client, 2)
    before = await client.threads.get_state(thread_id)
    sizes: Any = await client.http.get(f"/threads/{thread_id}/storage")
    assert await client.threads.prune([thread_id, str(uuid4())], strategy="keep_latest") == {"pruned_count": 1}
    smaller: Any = await client.http.get(f"/threads/{thread_id}/storage")
    after = await client.threads.get_state(thread_id)
    assert (after["values"], after["checkpoint"]) == (before["values"], before["checkpoint"])
    assert len(await client.threads.get_history(thread_id)) == smaller["checkpoints"]["count"] == 1
    assert 0 < smaller["total_bytes"] < sizes["total_bytes"]
    assert "messages" in smaller["channel_values"]["by_channel"]
    values: Any = await client.runs.wait(thread_id, "echo", input=HELLO)
    assert len(values["messages"]) == 6
    assert await client.threads.prune([thread_id]) == {"pruned_count": 1}
    with pytest.raises(NotFoundError):
        await client.threads.get(thread_id)


async def test_threads_are_searched_by_values_counted_and_extracted(client: LangGraphClient) -> None:
    mark = str(uuid4())
    await client.threads.create(metadata={"mark": mark})
    made = await client.threads.create(metadata={"mark": mark}, graph_id="echo", supersteps=steps(*SPOKEN))
    assert await client.threads.count(metadata={"mark": mark}) == 2
    values = made["values"]
    assert isinstance(values, dict)
    found: Any = await client.threads.search(
        metadata={"mark": mark},
        values={"messages": values["messages"]},
        select=["thread_id"],
        extract={"last": "values.messages[-1].content"},
    )
    assert found == [{"thread_id": made["thread_id"], "extracted": {"last": "hi there"}}]
    state: Any = await client.threads.get_state(made["thread_id"], select=["values.messages"])
    assert set(state) == {"values"}


async def test_a_thread_ends_when_nothing_has_changed_it_for_so_long(client: LangGraphClient) -> None:
    short = await client.threads.create(ttl={"ttl": 0.02, "strategy": "delete"})
    kept = await ran(client, 2)
    changed: Any = await client.threads.update(kept, metadata={"a": 1}, ttl={"ttl": 0.02, "strategy": "keep_latest"})
    assert changed["metadata"]["a"] == 1

    async def is_over() -> bool:
        history = await client.threads.get_history(kept)
        return len(history) == 1 and not await client.threads.search(ids=[short["thread_id"]])

    await eventually(is_over)
    assert len((await client.threads.get_state(kept))["values"]["messages"]) == 4  # type: ignore[call-overload]
