"""Commands of the Agent Streaming Protocol to graphs that really run."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from langgraph_sdk.client import LangGraphClient

from runs.identifiers import new_id

Send = Callable[..., Awaitable[Any]]


@pytest.fixture
def thread_id() -> str:
    """Of no thread yet."""
    return str(new_id())


@pytest.fixture
def send(client: LangGraphClient, thread_id: str) -> Send:
    """Send a command to the thread; answers its result."""

    async def send(method: str, **params: Any) -> Any:
        command = {"id": 1, "method": method, "params": params}
        answer: Any = await client.http.post(f"/threads/{thread_id}/commands", json=command)
        assert answer["type"] == "success", answer
        return answer["result"]

    return send


async def ended(client: LangGraphClient, thread_id: str, started: Any) -> Any:
    """The values of the thread when this run has ended well."""
    values: Any = await client.runs.join(thread_id, started["run_id"])
    assert (await client.runs.get(thread_id, started["run_id"]))["status"] == "success"
    return values


async def statuses(send: Send) -> list[tuple[list[str], str, str]]:
    """Of the graphs of the last run: namespace, name, status."""
    root = (await send("agent.getTree"))["tree"]
    return [(node["namespace"], node["graph_name"], node["status"]) for node in [root, *root["children"]]]


@pytest.mark.parametrize("by", ["run.start", "input.respond"])
async def test_a_thread_is_started_answered_and_goes_on(
    client: LangGraphClient, send: Send, thread_id: str, by: str
) -> None:
    said = {"messages": [{"role": "user", "content": "hello"}]}
    await ended(client, thread_id, await send("run.start", assistant_id="interrupt", input=said))
    [interrupt] = (await client.threads.get_state(thread_id))["interrupts"]
    if by == "run.start":
        started = await send(by, assistant_id="interrupt", input={"yes": True})
    else:
        started = await send(by, namespace=[], interrupt_id=interrupt["id"], response={"yes": True})
    assert (await ended(client, thread_id, started))["answer"] == {"yes": True}
    assert (await send("agent.getTree"))["tree"]["status"] == "completed"


@pytest.mark.parametrize("by", ["input.respond", "command"])
async def test_interrupts_of_one_step_are_answered_one_by_one(
    client: LangGraphClient, send: Send, thread_id: str, by: str
) -> None:
    async def answer(interrupt: Any) -> Any:
        if by == "input.respond":
            responded = await send(by, namespace=[], interrupt_id=interrupt["id"], response="now")
            return await ended(client, thread_id, responded)
        command: Any = {"resume": {interrupt["id"]: "now"}}
        return await client.runs.wait(thread_id, "asking_twice", command=command)

    said = {"messages": [{"role": "user", "content": "hello"}]}
    await ended(client, thread_id, await send("run.start", assistant_id="asking_twice", input=said))
    one, other = (await client.threads.get_state(thread_id))["interrupts"]
    values = await answer(one)
    assert [interrupt["id"] for interrupt in values["__interrupt__"]] == [other["id"]]
    thread = await client.threads.get(thread_id)
    assert thread["status"] == "interrupted"
    assert [[interrupt["id"] for interrupt in asked] for asked in thread["interrupts"].values()] == [[other["id"]]]
    if by == "input.respond":
        assert (await send("agent.getTree"))["tree"]["status"] == "interrupted"
    values = await answer(other)
    assert {message["content"] for message in values["messages"]} == {"hello", "When? now", "Where? now"}
    thread = await client.threads.get(thread_id)
    assert (thread["status"], thread["interrupts"]) == ("idle", {})


async def test_a_subgraph_is_looked_into_and_answered(client: LangGraphClient, send: Send, thread_id: str) -> None:
    await ended(client, thread_id, await send("run.start", assistant_id="nested", input={"said": []}))
    state: Any = await client.threads.get_state(thread_id, subgraphs=True)
    namespace = state["tasks"][0]["state"]["checkpoint"]["checkpoint_ns"].split("|")
    found = await send("state.get", namespace=namespace)
    assert found["values"]["said"] == ["first"]
    listed = await send("state.listCheckpoints", namespace=namespace)
    assert listed["checkpoints"][0]["id"] == found["checkpoint"]["id"]
    assert listed["checkpoints"][0]["node_name"] == "first"
    [interrupt] = state["tasks"][0]["interrupts"]
    assert await statuses(send) == [([], "nested", "interrupted"), (namespace, "child", "interrupted")]
    responses = [{"namespace": namespace, "interrupt_id": interrupt["id"], "response": "me"}]
    values = await ended(client, thread_id, await send("input.respond", responses=responses))
    assert values["said"] == ["first", "me", "last"]
    assert await statuses(send) == [([], "nested", "completed"), (namespace, "child", "completed")]


async def test_a_namespace_that_no_graph_has_is_none(client: LangGraphClient, send: Send, thread_id: str) -> None:
    await ended(client, thread_id, await send("run.start", assistant_id="nested", input={"said": []}))
    for namespace in (["nobody:1"], ["child"], ["child:1", "child:2"]):
        with pytest.raises(AssertionError, match="no_such_namespace"):
            await send("state.get", namespace=namespace)
        with pytest.raises(AssertionError, match="no_such_namespace"):
            await send("state.listCheckpoints", namespace=namespace)


async def test_a_run_forks_from_a_checkpoint_that_was_listed(
    client: LangGraphClient, send: Send, thread_id: str
) -> None:
    for word in ("one", "two"):
        said = {"messages": [{"role": "user", "content": word}]}
        await ended(client, thread_id, await send("run.start", assistant_id="echo", input=said))
    newest = (await send("state.listCheckpoints", limit=1))["checkpoints"][0]
    older = (await send("state.listCheckpoints", before=newest["id"], limit=50))["checkpoints"]
    after_one = next(each for each in older if each["step"] == 1)
    said = {"messages": [{"role": "user", "content": "three"}]}
    values = await ended(client, thread_id, await send("state.fork", checkpoint_id=after_one["id"], input=said))
    assert [message["content"] for message in values["messages"] if message["type"] == "human"] == ["one", "three"]


async def test_what_is_injected_is_seen_by_the_next_run(client: LangGraphClient, send: Send, thread_id: str) -> None:
    said = {"messages": [{"role": "user", "content": "one"}]}
    await ended(client, thread_id, await send("run.start", assistant_id="echo", input=said))
    assert await send("input.inject", namespace=[], message={"role": "user", "content": "two"}) == {}
    values = (await send("state.get", namespace=[], keys=["messages"]))["values"]
    assert [message["content"] for message in values["messages"] if message["type"] == "human"] == ["one", "two"]


async def test_what_is_injected_while_a_run_is_active_is_said_after_it(
    client: LangGraphClient, send: Send, thread_id: str
) -> None:
    said = {"messages": [{"role": "user", "content": "one"}]}
    await send("run.start", assistant_id="slow", input=said)
    await send("input.inject", namespace=[], message={"role": "user", "content": "two"})
    last = (await client.runs.list(thread_id))[0]
    values = await ended(client, thread_id, last)
    assert [message["content"] for message in values["messages"] if message["type"] == "human"] == ["one", "two"]


async def test_an_interrupt_whose_answer_was_cancelled_can_be_answered_again(
    client: LangGraphClient, send: Send, thread_id: str
) -> None:
    """Its thread's row tells nothing of that; the graph's state does."""
    said = {"messages": [{"role": "user", "content": "hello"}]}
    await ended(client, thread_id, await send("run.start", assistant_id="interrupt", input=said))
    [interrupt] = (await client.threads.get_state(thread_id))["interrupts"]
    started = await send("run.start", assistant_id="interrupt", input="soon", afterSeconds=60)
    await client.runs.cancel(thread_id, started["run_id"], wait=True)
    answered = await send("input.respond", namespace=[], interrupt_id=interrupt["id"], response="now")
    assert (await ended(client, thread_id, answered))["answer"] == "now"
