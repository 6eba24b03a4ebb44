"""Graphs of this server as nodes of a local graph: LangGraph's RemoteGraph."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.pregel.remote import RemoteGraph
from langgraph.types import Command
from langgraph_sdk import get_client, get_sync_client

from tests.e2e.server import Server


@pytest.fixture
async def remote(server: Server, key: str) -> AsyncIterator[Any]:
    """Makes a RemoteGraph of a graph."""
    async with get_client(url=server.url, api_key=key) as client:
        with get_sync_client(url=server.url, api_key=key) as sync_client:
            yield lambda graph_id: RemoteGraph(graph_id, client=client, sync_client=sync_client)


def config(thread_id: str | None = None) -> Any:
    return {"configurable": {"thread_id": thread_id or str(uuid4())}}


def said(text: str) -> Any:
    return {"messages": [HumanMessage(text)]}


async def test_it_is_invoked_and_streamed(remote: Any) -> None:
    graph = remote("echo")
    values = await graph.ainvoke(said("hello"), config())
    assert [message["content"] for message in values["messages"]] == ["hello", "echo: hello"]
    updates = [update async for update in graph.astream(said("hello"), config(), stream_mode="updates")]
    assert [list(update) for update in updates] == [["say"]]


async def test_it_is_invoked_without_a_loop(remote: Any) -> None:
    values = await asyncio.to_thread(remote("echo").invoke, said("hello"), config())
    assert [message["content"] for message in values["messages"]] == ["hello", "echo: hello"]


async def test_it_is_a_node_of_a_local_graph(remote: Any) -> None:
    graph = (
        StateGraph(MessagesState)
        .add_node("remote", remote("echo"))
        .add_edge(START, "remote")
        .compile(checkpointer=InMemorySaver())
    )
    thread = config()
    for _ in range(2):
        values = await graph.ainvoke(said("hello"), thread)
    assert values["messages"][-1].content == "echo: hello"
    parts = [part async for part in graph.astream(said("again"), thread, stream_mode="updates", subgraphs=True)]
    assert [list(update) for _, update in parts][-1] == ["remote"]


async def test_its_state_is_read_written_and_gone_through(remote: Any) -> None:
    graph, thread = remote("echo"), config()
    await graph.ainvoke(said("hello"), thread)
    state = await graph.aget_state(thread)
    assert len(state.values["messages"]) == 2 and state.next == ()
    written = await graph.aupdate_state(thread, said("by hand"), as_node="say")
    assert written["configurable"]["checkpoint_id"]
    assert len((await graph.aget_state(thread)).values["messages"]) == 3
    history = [state async for state in graph.aget_state_history(thread, limit=2)]
    assert [len(state.values["messages"]) for state in history] == [3, 2]


async def test_it_stops_at_an_interrupt_and_is_resumed(remote: Any) -> None:
    graph, thread = remote("interrupt"), config()
    await graph.ainvoke(said("hello"), thread)
    state = await graph.aget_state(thread)
    [task] = state.tasks
    assert task.interrupts[0].value["question"] == "May I?"
    values = await graph.ainvoke(Command(resume="yes"), thread)
    assert "yes" in str(values["messages"][-1]["content"])
    assert (await graph.aget_state(thread)).next == ()


async def test_an_interrupt_of_it_reaches_the_local_graph(remote: Any) -> None:
    graph = (
        StateGraph(MessagesState)
        .add_node("remote", remote("interrupt"))
        .add_edge(START, "remote")
        .compile(checkpointer=InMemorySaver())
    )
    thread = config()
    values = await graph.ainvoke(said("hello"), thread)
    assert values["__interrupt__"][0].value["question"] == "May I?"


async def test_its_shape_is_drawn(remote: Any) -> None:
    drawn = await remote("echo").aget_graph()
    assert {"__start__", "say", "__end__"} <= set(drawn.nodes)
