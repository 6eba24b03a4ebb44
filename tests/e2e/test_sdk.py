"""The official Python SDK, unmodified, at the server's address and below /api."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from langgraph_sdk import get_client, get_sync_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import ConflictError, NotFoundError

from tests.e2e.ledger import Ledger
from tests.e2e.server import Server
from tests.e2e.waiting import eventually

HELLO = {"messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(params=["", "/api"], ids=["root", "api"])
async def client(server: Server, key: str, request: pytest.FixtureRequest) -> AsyncIterator[LangGraphClient]:
    async with get_client(url=f"{server.url}{request.param}", api_key=key) as client:
        yield client


@pytest.fixture
async def thread_id(client: LangGraphClient) -> str:
    return str((await client.threads.create())["thread_id"])


def texts(values: Any) -> list[str]:
    return [message["content"] for message in values["messages"]]


async def parts_of(client: LangGraphClient, thread_id: str, graph: str, mode: Any, **options: Any) -> list[Any]:
    options = {"input": HELLO, "stream_subgraphs": True, **options}
    parts = [part async for part in client.runs.stream(thread_id, graph, stream_mode=mode, **options)]
    assert parts[0].event == "metadata" and parts[-1].event == "end"
    return parts[1:-1]


# Assistants and threads.


async def test_assistants_are_found_by_their_graph(client: LangGraphClient) -> None:
    [found] = await client.assistants.search(graph_id="echo")
    assert found["graph_id"] == "echo"
    assert await client.assistants.get(found["assistant_id"]) == found


async def test_threads_are_made_changed_found_and_deleted(client: LangGraphClient) -> None:
    thread_id, color = str(uuid4()), str(uuid4())
    made = await client.threads.create(thread_id=thread_id, metadata={"color": color})
    assert (made["thread_id"], made["status"], made["values"]) == (thread_id, "idle", None)
    with pytest.raises(ConflictError):
        await client.threads.create(thread_id=thread_id, if_exists="raise")
    assert await client.threads.create(thread_id=thread_id, if_exists="do_nothing") == made
    await client.threads.update(thread_id, metadata={"size": 3})
    assert (await client.threads.get(thread_id))["metadata"] == {"color": color, "size": 3}
    assert [thread["thread_id"] for thread in await client.threads.search(metadata={"color": color})] == [thread_id]
    await client.threads.delete(thread_id)
    with pytest.raises(NotFoundError):
        await client.threads.get(thread_id)
    assert await client.threads.search(metadata={"color": color}) == []


# Every stream mode.


async def test_mode_values_shows_the_state_after_each_step(client: LangGraphClient, thread_id: str) -> None:
    parts = await parts_of(client, thread_id, "slow", "values", config={"configurable": {"sleep": 0}})
    assert {part.event for part in parts} == {"values"}
    assert [part.data["steps"] for part in parts] == [list(range(done)) for done in range(6)]


async def test_mode_updates_shows_what_each_node_wrote(client: LangGraphClient, thread_id: str) -> None:
    parts = await parts_of(client, thread_id, "custom", "updates")
    inner, *outer = parts[1], parts[0], parts[2]
    assert [(part.event, list(part.data)) for part in outer] == [("updates", ["report"]), ("updates", ["child"])]
    assert inner.event.startswith("updates|child:") and texts(inner.data["say"]) == ["echo: hello"]


async def test_mode_messages_shows_each_message_as_it_grows(client: LangGraphClient, thread_id: str) -> None:
    parts = await parts_of(client, thread_id, "tokens", "messages", config={"configurable": {"n": 3}})
    assert parts[0].event == "messages/metadata"
    partial = [part.data[0] for part in parts if part.event == "messages/partial"]
    assert [message["content"] for message in partial][:3] == ["word0 ", "word0 word1 ", "word0 word1 word2 "]
    assert {message["type"] for message in partial} == {"ai"}
    assert list(parts[0].data) == [partial[0]["id"]]


async def test_mode_messages_tuple_shows_each_piece(client: LangGraphClient, thread_id: str) -> None:
    parts = await parts_of(client, thread_id, "tokens", "messages-tuple", config={"configurable": {"n": 3}})
    assert {part.event for part in parts} == {"messages"}
    assert [part.data[0]["content"] for part in parts][:3] == ["word0 ", "word1 ", "word2 "]
    assert {part.data[1]["langgraph_node"] for part in parts} == {"speak"}


async def test_mode_custom_shows_what_the_graph_writes(client: LangGraphClient, thread_id: str) -> None:
    parts = await parts_of(client, thread_id, "custom", "custom")
    assert [(part.event, part.data) for part in parts] == [("custom", {"done": 1}), ("custom", {"done": 2})]


async def test_mode_debug_shows_checkpoints_and_tasks(client: LangGraphClient, thread_id: str) -> None:
    parts = await parts_of(client, thread_id, "echo", "debug", stream_subgraphs=False)
    assert {part.event for part in parts} == {"debug"}
    assert {part.data["type"] for part in parts} == {"checkpoint", "task", "task_result"}


async def test_mode_tasks_shows_each_task_and_its_result(client: LangGraphClient, thread_id: str) -> None:
    parts = await parts_of(client, thread_id, "echo", "tasks", stream_subgraphs=False)
    begun, ended = parts
    assert (begun.event, begun.data["name"]) == ("tasks", "say") and "input" in begun.data
    assert ended.data["id"] == begun.data["id"] and texts(ended.data["result"]) == ["echo: hello"]


async def test_mode_checkpoints_shows_each_checkpoint(client: LangGraphClient, thread_id: str) -> None:
    parts = await parts_of(client, thread_id, "echo", "checkpoints", stream_subgraphs=False)
    assert {part.event for part in parts} == {"checkpoints"}
    assert [part.data["next"] for part in parts] == [["__start__"], ["say"], []]
    state = await client.threads.get_state(thread_id)
    assert parts[-1].data["config"]["configurable"]["checkpoint_id"] == state["checkpoint"]["checkpoint_id"]


async def test_mode_events_shows_what_runs_inside(client: LangGraphClient, thread_id: str) -> None:
    parts = await parts_of(
        client, thread_id, "tokens", "events", config={"configurable": {"n": 3}}, stream_subgraphs=False
    )
    assert {part.event for part in parts} == {"events"}
    kinds = [part.data["event"] for part in parts]
    assert kinds[0] == "on_chain_start" and kinds[-1] == "on_chain_end"
    assert kinds.count("on_chat_model_stream") >= 3


async def test_several_modes_come_in_one_stream_without_a_repetition(client: LangGraphClient, thread_id: str) -> None:
    modes = ["values", "updates", "messages-tuple", "custom", "tasks", "checkpoints", "debug"]
    parts = await parts_of(client, thread_id, "custom", modes)
    assert {part.event.partition("|")[0] for part in parts} == {
        "messages" if m == "messages-tuple" else m for m in modes
    }
    ids = [int(part.id) for part in parts]
    assert ids == sorted(set(ids))


# Runs.


async def test_wait_answers_the_final_values(client: LangGraphClient, thread_id: str) -> None:
    values = await client.runs.wait(thread_id, "echo", input=HELLO)
    assert texts(values) == ["hello", "echo: hello"]
    assert (await client.threads.get(thread_id))["values"] == values


async def test_stateless_runs_wait_and_stream(client: LangGraphClient) -> None:
    assert texts(await client.runs.wait(None, "echo", input=HELLO)) == ["hello", "echo: hello"]
    events = [part.event async for part in client.runs.stream(None, "echo", input=HELLO)]
    assert events == ["metadata", "values", "values", "end"]


async def test_a_background_run_is_joined_and_its_stream_read_from_the_start(
    client: LangGraphClient, thread_id: str
) -> None:
    run = await client.runs.create(thread_id, "slow", config={"configurable": {"sleep": 0.05}}, input=HELLO)
    assert (await client.runs.join(thread_id, run["run_id"]))["steps"] == [0, 1, 2, 3, 4]
    events = [part.event async for part in client.runs.join_stream(thread_id, run["run_id"])]
    assert events == ["metadata", *["values"] * 6, "end"]


async def test_join_stream_shows_only_the_modes_asked_for(client: LangGraphClient, thread_id: str) -> None:
    run = await client.runs.create(thread_id, "echo", input=HELLO, stream_mode=["values", "updates"])
    events = [p.event async for p in client.runs.join_stream(thread_id, run["run_id"], stream_mode="updates")]
    assert events == ["metadata", "updates", "end"]


async def test_runs_are_listed_got_and_deleted(client: LangGraphClient, thread_id: str) -> None:
    runs = [await client.runs.create(thread_id, "echo", input=HELLO, multitask_strategy="enqueue") for _ in range(2)]
    for run in runs:
        await client.runs.join(thread_id, run["run_id"])
    listed = await client.runs.list(thread_id)
    assert [run["run_id"] for run in listed] == [run["run_id"] for run in reversed(runs)]
    assert await client.runs.get(thread_id, runs[0]["run_id"]) == listed[1]
    assert listed[0]["status"] == "success"
    await client.runs.delete(thread_id, runs[0]["run_id"])
    with pytest.raises(NotFoundError):
        await client.runs.get(thread_id, runs[0]["run_id"])
    assert len(await client.runs.list(thread_id)) == 1


async def test_cancel_with_wait_comes_back_when_the_run_has_stopped(
    client: LangGraphClient, thread_id: str, ledger: Ledger
) -> None:
    # It can not be stopped at once.
    plan: Any = {"hang": "block", "block_seconds": 0.7, "steps": 2, "ledger": str(ledger.path)}
    run = await client.runs.create(thread_id, "stress", input=plan)

    async def has_begun() -> list[int]:
        return ledger.steps()

    await eventually(has_begun)
    await client.runs.cancel(thread_id, run["run_id"], wait=True)
    assert (await client.runs.get(thread_id, run["run_id"]))["status"] == "interrupted"
    assert (await client.threads.get(thread_id))["status"] == "interrupted"


async def test_cancel_without_wait_stops_the_run_and_ends_its_stream(client: LangGraphClient, thread_id: str) -> None:
    run = await client.runs.create(thread_id, "stress", input={"hang": "async"})
    events = []
    async for part in client.runs.join_stream(thread_id, run["run_id"]):
        events.append(part.event)
        if part.event == "metadata":
            await client.runs.cancel(thread_id, run["run_id"])
    assert events[-2:] == ["cancel", "end"]
    assert (await client.runs.get(thread_id, run["run_id"]))["status"] == "interrupted"


async def test_cancel_of_a_finished_run_is_a_conflict(client: LangGraphClient, thread_id: str) -> None:
    await client.runs.wait(thread_id, "echo", input=HELLO)
    [run] = await client.runs.list(thread_id)
    with pytest.raises(ConflictError, match="success"):
        await client.runs.cancel(thread_id, run["run_id"])


# State.


async def test_state_is_read_changed_and_remembered(client: LangGraphClient, thread_id: str) -> None:
    assert (await client.threads.get_state(thread_id))["values"] == {}
    await client.runs.wait(thread_id, "echo", input=HELLO)
    before = await client.threads.get_state(thread_id)
    assert (texts(before["values"]), before["next"]) == (["hello", "echo: hello"], [])
    added = {"messages": [{"role": "user", "content": "added"}]}
    written = await client.threads.update_state(thread_id, added)
    after = await client.threads.get_state(thread_id)
    assert texts(after["values"]) == ["hello", "echo: hello", "added"]
    assert after["checkpoint"]["checkpoint_id"] == written["checkpoint"]["checkpoint_id"]
    assert texts((await client.threads.get(thread_id))["values"]) == ["hello", "echo: hello", "added"]
    old = await client.threads.get_state(thread_id, checkpoint=before["checkpoint"])
    assert old["values"] == before["values"]
    history = await client.threads.get_history(thread_id, limit=2)
    assert [state["checkpoint"] for state in history] == [after["checkpoint"], before["checkpoint"]]
    assert len(await client.threads.get_history(thread_id)) == 4


async def test_a_run_goes_on_from_an_older_checkpoint(client: LangGraphClient, thread_id: str) -> None:
    await client.runs.wait(thread_id, "echo", input=HELLO)
    first = await client.threads.get_state(thread_id)
    await client.runs.wait(thread_id, "echo", input=HELLO)
    again = {"messages": [{"role": "user", "content": "again"}]}
    values = await client.runs.wait(thread_id, "echo", input=again, checkpoint=first["checkpoint"])
    assert texts(values) == ["hello", "echo: hello", "again", "echo: again"]


async def test_a_graph_that_asks_is_resumed_by_a_command(client: LangGraphClient, thread_id: str) -> None:
    asked = await client.runs.wait(thread_id, "interrupt", input=HELLO)
    assert asked["__interrupt__"][0]["value"] == {"question": "May I?", "said": "hello"}
    [run] = await client.runs.list(thread_id)
    thread = await client.threads.get(thread_id)
    assert (run["status"], thread["status"]) == ("success", "interrupted")
    assert [interrupt["value"]["said"] for [interrupt] in thread["interrupts"].values()] == ["hello"]
    assert (await client.threads.get_state(thread_id))["next"] == ["ask"]
    answered = await client.runs.wait(thread_id, "interrupt", command={"resume": "yes"})
    assert (answered["answer"], texts(answered)[-1]) == ("yes", "answered: yes")
    thread = await client.threads.get(thread_id)
    assert (thread["status"], thread["interrupts"]) == ("idle", {})


async def test_a_graph_stops_before_a_node_and_goes_on_without_input(client: LangGraphClient, thread_id: str) -> None:
    quick = {"configurable": {"sleep": 0}}
    values = await client.runs.wait(thread_id, "slow", input={}, config=quick, interrupt_before=["step2"])
    assert values["steps"] == [0, 1]
    assert (await client.threads.get_state(thread_id))["next"] == ["step2"]
    assert (await client.runs.wait(thread_id, "slow", config=quick))["steps"] == [0, 1, 2, 3, 4]


async def test_a_failing_graph_says_why_and_leaves_the_thread_usable(client: LangGraphClient, thread_id: str) -> None:
    parts = [part async for part in client.runs.stream(thread_id, "fail", input=HELLO)]
    failure = {"error": "ValueError", "message": "this graph always fails"}
    assert [part.event for part in parts] == ["metadata", "values", "error", "end"]
    assert parts[-2].data == failure
    with pytest.raises(Exception, match="ValueError: this graph always fails"):
        await client.runs.wait(thread_id, "fail", input=HELLO)
    assert [run["status"] for run in await client.runs.list(thread_id)] == ["error", "error"]
    thread = await client.threads.get(thread_id)
    assert (thread["status"], thread["error"]) == ("error", failure)
    assert texts(await client.runs.wait(thread_id, "echo", input=HELLO))[-1] == "echo: hello"


async def test_a_run_that_was_deleted_while_it_ran_stops(client: LangGraphClient, thread_id: str) -> None:
    run = await client.runs.create(thread_id, "stress", input={"hang": "async"})
    await client.runs.delete(thread_id, run["run_id"])
    with pytest.raises(NotFoundError):
        await client.runs.get(thread_id, run["run_id"])

    async def is_free() -> bool:
        return (await client.threads.get(thread_id))["status"] != "busy"

    await eventually(is_free)
    assert texts(await client.runs.wait(thread_id, "echo", input=HELLO))[-1] == "echo: hello"


def test_the_synchronous_client_streams_too(server: Server, key: str) -> None:
    with get_sync_client(url=server.url, api_key=key) as client:
        thread = client.threads.create()
        parts = list(client.runs.stream(thread["thread_id"], "echo", input=HELLO, stream_mode="values"))
    assert texts(parts[-2].data) == ["hello", "echo: hello"]
