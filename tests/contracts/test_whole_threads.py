"""Whole threads in each database of checkpoints: copied, pruned to their latest state, measured."""

import asyncio
from typing import Any, TypedDict

import pytest
from langchain_core.messages import HumanMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

from runs.engine.storage import FencedSaver, StaleAttempt, Unprunable, Writer
from tests.contracts.benches import Bench, attempt_of
from tests.contracts.written import FIRST, config, put, steps

pytestmark = pytest.mark.django_db(transaction=True)

COPY = Writer("copy", 1, 1)
PRUNE = Writer("thread", 2, 1)


class State(TypedDict):
    steps: list[str]


def asking_graph(saver: FencedSaver) -> Any:
    """A graph whose subgraph asks, after a first call of it that did not."""

    def ask(state: State) -> State:
        return {"steps": [*state["steps"], interrupt("go on?") if "asked" in state["steps"] else "asked"]}

    child = StateGraph(State).add_node("ask", ask).add_edge(START, "ask").compile()
    return (
        StateGraph(State)
        .add_node("first", child)
        .add_node("second", child)
        .add_edge(START, "first")
        .add_edge("first", "second")
        .compile(checkpointer=saver)
    )


async def asked(bench: Bench, saver: FencedSaver) -> Any:
    """The graph, stopped at its question on the thread of FIRST."""
    graph = asking_graph(saver)
    await bench.begin(saver, FIRST)
    await graph.ainvoke({"steps": []}, config(FIRST), durability="sync")
    return graph


async def shown(graph: Any, thread_id: str) -> Any:
    """The state of a thread, without what names the thread."""
    state = await graph.aget_state({"configurable": {"thread_id": thread_id}}, subgraphs=True)
    inner = [task.state.values for task in state.tasks]
    return state.values, state.next, [(task.id, task.interrupts) for task in state.tasks], inner, state.created_at


async def copy(bench: Bench, saver: FencedSaver) -> None:
    await bench.turn_taken(COPY)
    await saver.copy("thread", COPY)


async def test_a_copy_has_every_namespace_and_what_is_pending(bench: Bench, saver: FencedSaver) -> None:
    graph = await asked(bench, saver)
    before = bench.rows()
    await copy(bench, saver)
    assert bench.rows() == {name: 2 * count for name, count in before.items()}
    assert await shown(graph, "copy") == await shown(graph, "thread")
    assert await steps(saver, "copy") == await steps(saver)


async def test_both_go_on_alone_after_a_copy(bench: Bench, saver: FencedSaver) -> None:
    graph = await asked(bench, saver)
    await copy(bench, saver)
    original = await shown(graph, "thread")
    writer = attempt_of(2, 1, "copy")
    await bench.begin(saver, writer)
    await graph.ainvoke(Command(resume="yes"), config(writer))
    assert (await shown(graph, "copy"))[0] == {"steps": ["asked", "yes"]}
    assert await shown(graph, "thread") == original


async def test_a_copy_to_a_thread_that_is_gone_is_none(bench: Bench, saver: FencedSaver) -> None:
    await bench.begin(saver, FIRST)
    await put(saver, FIRST)
    later = Writer("copy", 2, 1)
    await bench.turn_taken(later)
    await saver.raise_fence(later)
    with pytest.raises(StaleAttempt):
        await saver.copy("thread", COPY)
    assert bench.rows()["checkpoints"] == 1


async def test_a_copy_that_begins_after_another_took_the_turn_is_none(bench: Bench, saver: FencedSaver) -> None:
    """Its fence was up, and is not any more when it gets to write."""
    await bench.begin(saver, FIRST)
    await put(saver, FIRST)
    for writer in (COPY, Writer("copy", 2, 1)):
        await bench.turn_taken(writer)
        await saver.raise_fence(writer)
    with pytest.raises(StaleAttempt):
        await asyncio.to_thread(saver._alone, COPY, lambda session: session.copy_thread("thread", "copy"))
    assert bench.rows()["checkpoints"] == 1


async def test_whoever_made_a_copy_sees_it(bench: Bench, saver: FencedSaver) -> None:
    await bench.begin(saver, FIRST)
    await put(saver, FIRST)
    await copy(bench, saver)
    assert await saver.aget_tuple(config(COPY)) is not None


async def test_a_copy_that_is_made_twice_is_one(bench: Bench, saver: FencedSaver) -> None:
    await bench.begin(saver, FIRST)
    await put(saver, FIRST)
    await copy(bench, saver)
    await copy(bench, saver)
    assert await steps(saver, "copy") == [0]


async def prune(bench: Bench, saver: FencedSaver) -> None:
    await bench.turn_taken(PRUNE)
    await saver.keep_latest(PRUNE)


async def test_a_pruned_thread_shows_the_same_and_goes_on(bench: Bench, saver: FencedSaver) -> None:
    graph = await asked(bench, saver)
    before, many = await shown(graph, "thread"), bench.rows()
    await prune(bench, saver)
    assert await shown(graph, "thread") == before
    assert bench.rows()["checkpoints"] < many["checkpoints"]
    config_of_thread: Any = {"configurable": {"thread_id": "thread"}}
    history = [state async for state in graph.aget_state_history(config_of_thread)]
    assert len(history) == 1 and history[0].parent_config is None
    writer = attempt_of(3, 1)
    await bench.begin(saver, writer)
    await graph.ainvoke(Command(resume="yes"), config(writer))
    assert (await shown(graph, "thread"))[0] == {"steps": ["asked", "yes"]}


async def test_a_finished_thread_is_pruned_to_one_checkpoint(bench: Bench, saver: FencedSaver) -> None:
    graph = await asked(bench, saver)
    other = attempt_of(1, 1, "other")
    await bench.begin(saver, other)
    await put(saver, other, 0, topic="a")
    await put(saver, other, 1, topic="b")
    writer = attempt_of(2, 1)
    await bench.begin(saver, writer)
    await graph.ainvoke(Command(resume="yes"), config(writer))
    before = await shown(graph, "thread")
    last = Writer("thread", 3, 1)
    await bench.turn_taken(last)
    await saver.keep_latest(last)
    assert await shown(graph, "thread") == before
    assert bench.rows() == {"checkpoints": 3, "writes": 0}
    assert await steps(saver, "other") == [1, 0]


async def test_pruning_twice_is_pruning_once(bench: Bench, saver: FencedSaver) -> None:
    await asked(bench, saver)
    await prune(bench, saver)
    rows = bench.rows()
    await saver.keep_latest(PRUNE)
    assert bench.rows() == rows


async def test_whoever_has_lost_the_turn_prunes_nothing(bench: Bench, saver: FencedSaver) -> None:
    await asked(bench, saver)
    rows = bench.rows()
    await bench.turn_taken(PRUNE)
    later = Writer("thread", 3, 1)
    await bench.turn_taken(later)
    await saver.raise_fence(later)
    with pytest.raises(StaleAttempt):
        await saver.keep_latest(PRUNE)
    assert bench.rows() == rows


async def put_first(saver: FencedSaver) -> Any:
    await put(saver, FIRST, topic="a")
    found = await saver.aget_tuple({"configurable": {"thread_id": "thread"}})
    assert found is not None
    return found


async def test_a_thread_that_is_made_of_all_its_steps_is_not_pruned(bench: Bench, saver: FencedSaver) -> None:
    await bench.begin(saver, FIRST)
    for step in range(2):
        made = (await put_first(saver)).checkpoint
        about: Any = {"source": "loop", "step": step, "counters_since_delta_snapshot": {"a": 1}}
        await saver.aput(config(FIRST), made, about, {})
    rows = bench.rows()
    await bench.turn_taken(PRUNE)
    with pytest.raises(Unprunable):
        await saver.keep_latest(PRUNE)
    assert bench.rows() == rows


async def test_a_thread_is_measured(bench: Bench, saver: FencedSaver) -> None:
    nothing = await saver.usage("thread")
    assert nothing == ((0, 0), {}, {})

    async def say(state: MessagesState) -> dict[str, Any]:
        return {"messages": [("ai", "x" * 10_000)]}

    graph = StateGraph(MessagesState).add_node("say", say).add_edge(START, "say").compile(checkpointer=saver)
    await bench.begin(saver, FIRST)
    await graph.ainvoke({"messages": [HumanMessage("hi")]}, config(FIRST))
    usage = await saver.usage("thread")
    assert usage.checkpoints[0] == bench.rows()["checkpoints"] and usage.checkpoints[1] > 0
    assert usage.channel_values["messages"][1] > 10_000
    assert sum(count for count, _ in usage.pending_writes.values()) == bench.rows()["writes"]
