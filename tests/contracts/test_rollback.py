"""Rollbacks in each database: what a run did to its thread's checkpoints is gone, and what it found is there again."""

import operator
from typing import Annotated, Any

import psycopg
import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt
from typing_extensions import TypedDict

from runs.engine.storage import WRITER_KEY, FencedSaver, StaleAttempt, Writer
from runs.postgres import connection_parameters
from tests.contracts.benches import Bench, attempt_of

pytestmark = pytest.mark.django_db(transaction=True)


class State(TypedDict):
    said: Annotated[list[str], operator.add]


async def ask(state: State) -> State:
    return {"said": [interrupt("Who?")]}


async def say(state: State) -> State:
    return {"said": [f"after {len(state['said'])}"]}


async def fail(state: State) -> State:
    if state["said"][-2:-1] != ["fail"]:
        return {"said": []}
    raise ZeroDivisionError


def graph_of(saver: FencedSaver, *, deep: bool) -> Any:
    inner = StateGraph(State).add_node("say", say).add_node("ask", ask).add_edge(START, "say").add_edge("say", "ask")
    outer = StateGraph(State).add_node("child", inner.compile()) if deep else StateGraph(State).add_node("child", ask)
    outer.add_node("say", say).add_node("fail", fail)
    return outer.add_edge(START, "child").add_edge("child", "say").add_edge("say", "fail").compile(checkpointer=saver)


def config(writer: Writer) -> RunnableConfig:
    return {
        "configurable": {"thread_id": writer.thread_id, WRITER_KEY: writer},
        "metadata": {"run_id": writer.run_id},
    }


async def run(bench: Bench, saver: FencedSaver, graph: Any, writer: Writer, given: Any) -> None:
    await bench.begin(saver, writer)
    await graph.ainvoke(given, config(writer))


@pytest.mark.parametrize("deep", [False, True], ids=["flat", "subgraph"])
@pytest.mark.parametrize(
    "given", [Command(resume="me"), {"said": ["new"]}, Command(update={"said": ["x"]}, goto="say")], ids=str
)
async def test_a_rolled_back_run_leaves_no_trace(bench: Bench, saver: FencedSaver, deep: bool, given: Any) -> None:
    graph = graph_of(saver, deep=deep)
    await run(bench, saver, graph, attempt_of(1, 1), {"said": ["first"]})
    await run(bench, saver, graph, attempt_of(1, 1, "other"), {"said": ["other"]})
    before = bench.contents()
    await run(bench, saver, graph, attempt_of(2, 1), given)
    assert bench.contents() != before
    await saver.roll_back(attempt_of(2, 1))
    assert bench.contents() == before
    await run(bench, saver, graph, attempt_of(3, 1), Command(resume="you"))
    state = await graph.aget_state({"configurable": {"thread_id": "thread"}})
    assert "you" in state.values["said"] and "me" not in state.values["said"] and state.next == ()


async def test_the_first_run_of_a_thread_leaves_it_empty(bench: Bench, saver: FencedSaver) -> None:
    await run(bench, saver, graph_of(saver, deep=True), attempt_of(1, 1), {"said": ["first"]})
    await saver.roll_back(attempt_of(1, 1))
    assert bench.contents() == []


async def test_what_an_earlier_attempt_did_is_undone_too(bench: Bench, saver: FencedSaver) -> None:
    graph = graph_of(saver, deep=False)
    await run(bench, saver, graph, attempt_of(1, 1), {"said": ["first"]})
    before = bench.contents()
    await bench.begin(saver, attempt_of(2, 1))
    with pytest.raises(ZeroDivisionError):
        await graph.ainvoke(Command(resume="fail"), config(attempt_of(2, 1)))
    saver.forget(attempt_of(2, 1))
    second = attempt_of(2, 2)
    await bench.begin(saver, second)
    with pytest.raises(ZeroDivisionError):
        await graph.ainvoke(None, config(second))
    third = attempt_of(2, 3)
    await bench.begin(saver, third)
    await saver.roll_back(third)
    assert bench.contents() == before


async def test_a_rollback_may_be_done_again(bench: Bench, saver: FencedSaver) -> None:
    graph = graph_of(saver, deep=False)
    await run(bench, saver, graph, attempt_of(1, 1), {"said": ["first"]})
    before = bench.contents()
    await run(bench, saver, graph, attempt_of(2, 1), Command(resume="me"))
    await saver.roll_back(attempt_of(2, 1))
    again = attempt_of(2, 2)
    await bench.begin(saver, again)
    await saver.roll_back(again)
    assert bench.contents() == before


async def test_what_was_found_by_an_earlier_run_is_not_brought_back(bench: Bench, saver: FencedSaver) -> None:
    graph = graph_of(saver, deep=False)
    await run(bench, saver, graph, attempt_of(1, 1), {"said": ["first"]})
    await run(bench, saver, graph, attempt_of(2, 1), Command(resume="me"))
    before = bench.contents()
    await run(bench, saver, graph, attempt_of(3, 1), {"said": ["new"]})
    await saver.roll_back(attempt_of(3, 1))
    assert bench.contents() == before


async def test_whose_run_was_rolled_back_writes_nothing_more(bench: Bench, saver: FencedSaver) -> None:
    graph = graph_of(saver, deep=False)
    await run(bench, saver, graph, attempt_of(1, 1), {"said": ["first"]})
    await saver.roll_back(attempt_of(1, 1))
    with pytest.raises(StaleAttempt):
        await graph.ainvoke({"said": ["late"]}, config(attempt_of(1, 1)))
    assert bench.contents() == []


async def test_a_replaced_attempt_rolls_nothing_back(bench: Bench, saver: FencedSaver) -> None:
    graph = graph_of(saver, deep=False)
    await run(bench, saver, graph, attempt_of(1, 1), {"said": ["first"]})
    await bench.begin(saver, attempt_of(1, 2))
    before = bench.contents()
    with pytest.raises(StaleAttempt):
        await saver.roll_back(attempt_of(1, 1))
    assert bench.contents() == before


async def test_what_could_not_be_written_is_noted_by_the_next_write(bench: Bench, saver: FencedSaver) -> None:
    graph = graph_of(saver, deep=False)
    await run(bench, saver, graph, attempt_of(1, 1), {"said": ["first"]})
    before = bench.contents()
    writer = attempt_of(2, 1)
    await bench.begin(saver, writer)
    found = await saver.aget_tuple({"configurable": {"thread_id": "thread"}})
    assert found is not None
    place: RunnableConfig = {"configurable": {**found.config["configurable"], WRITER_KEY: writer}}
    with pytest.raises(TypeError):
        await saver.aput_writes(place, [("said", 2**70)], "task")
    await saver.aput_writes(place, [("said", ["x"])], "task")
    await saver.roll_back(writer)
    assert bench.contents() == before


@pytest.mark.many_machines
async def test_copies_follow_a_change_of_the_library_s_columns(bench: Bench) -> None:
    with psycopg.connect(**connection_parameters("tests"), autocommit=True) as connection:
        connection.execute("ALTER TABLE checkpoint_writes ADD COLUMN later text")
        try:
            bench.database.setup()
            columns = connection.execute("SELECT * FROM remembered_writes").description
            assert columns is not None and columns[-1].name == "later"
        finally:
            connection.execute("ALTER TABLE checkpoint_writes DROP COLUMN later")
            bench.database.setup()
