"""Attempts of a run, one after another on the same checkpoints, without a process or a database."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import interrupt
from typing_extensions import TypedDict

from runs.engine.execution import Ended, Execution, Reason
from runs.engine.graphs import Registry
from runs.engine.storage import FencedSaver, SqliteDatabase, open_saver
from runs.lifecycle import Attempt, Known, Outcome
from runs.records import Record
from runs.states import RunStatus
from runs.tally import Tally
from tests.factories import run_kwargs


class State(TypedDict, total=False):
    steps: list[str]


class FakeJournal:
    """Takes everything at once; refuses nothing."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.outcome: Outcome | None = None
        self.known: list[Known] = []
        self.tally: Tally | None = None
        self.on_lost = lambda: None

    def append(self, record: Record, tally: Tally | None = None) -> None:
        self.records.append(record)
        self.tally = tally or self.tally

    async def known_messages(self) -> list[Known]:
        return self.known

    async def torn(self) -> list[Record]:
        return []

    async def room(self) -> None:
        return None

    async def flush(self) -> bool:
        return True

    def note(self, tally: Tally) -> None:
        self.tally = tally

    async def finish(self, outcome: Outcome, tally: Tally) -> bool:
        self.outcome, self.tally = outcome, tally
        return True


def graph_of(*names: str, calls: list[str]) -> Any:
    builder = StateGraph(State)
    previous = START
    for name in names:

        async def node(state: State, name: str = name) -> State:
            calls.append(name)
            return {"steps": [*state.get("steps", []), name]}

        builder.add_node(name, node)
        builder.add_edge(previous, name)
        previous = name
    builder.add_edge(previous, END)
    return builder.compile()


def attempt_of(**kwargs: Any) -> Attempt:
    run_id = uuid.uuid4()
    return Attempt(
        run_id=run_id,
        claim=uuid.uuid4(),
        attempt=1,
        crashes=0,
        position=1,
        thread_id="t",
        graph_id="g",
        organization_id=uuid.uuid4(),
        owner_id=None,
        kwargs=run_kwargs("t", run_id, **{"graph_id": "g", "input": {"steps": []}, "durability": "sync", **kwargs}),
    )


@pytest.fixture
async def saver(tmp_path: Path) -> AsyncIterator[FencedSaver]:
    async with open_saver(SqliteDatabase(tmp_path / "checkpoints.sqlite3")) as saver:
        yield saver


async def execute(attempt: Attempt, graph: Any, saver: FencedSaver, journal: FakeJournal | None = None) -> FakeJournal:
    journal = journal or FakeJournal()
    execution = Execution(attempt, journal, Registry({"g": graph}), saver)
    assert await execution.run() is Ended.SETTLED
    return journal


def again(attempt: Attempt) -> Attempt:
    """The next attempt, after its host was lost."""
    return replace(attempt, attempt=attempt.attempt + 1, claim=uuid.uuid4())


async def test_a_run_ends_with_its_last_values(saver: FencedSaver) -> None:
    journal = await execute(attempt_of(), graph_of("a", "b", calls=[]), saver)

    assert journal.outcome is not None
    assert journal.outcome.status is RunStatus.SUCCESS
    assert orjson.loads(journal.outcome.values or b"") == {"steps": ["a", "b"]}


async def test_an_attempt_after_the_last_step_repeats_no_step(saver: FencedSaver) -> None:
    calls: list[str] = []
    graph = graph_of("a", "b", calls=calls)
    attempt = attempt_of()
    await execute(attempt, graph, saver)

    journal = await execute(again(attempt), graph, saver)

    assert calls == ["a", "b"]
    assert journal.outcome is not None
    assert orjson.loads(journal.outcome.values or b"") == {"steps": ["a", "b"]}


@pytest.mark.parametrize("stop", [{"interrupt_before": ["b"]}, {"interrupt_after": ["a"]}, {"interrupt_before": "*"}])
async def test_an_attempt_that_was_lost_at_a_breakpoint_does_not_pass_it(
    saver: FencedSaver, stop: dict[str, Any]
) -> None:
    calls: list[str] = []
    graph = graph_of("a", "b", calls=calls)
    attempt = attempt_of(**stop)
    first = await execute(attempt, graph, saver)
    seen = list(calls)

    second = await execute(again(attempt), graph, saver)

    assert calls == seen
    assert first.outcome == second.outcome
    assert second.outcome is not None and second.outcome.waits_for_input


async def test_a_run_that_goes_on_from_a_breakpoint_passes_it(saver: FencedSaver) -> None:
    calls: list[str] = []
    graph = graph_of("a", "b", calls=calls)
    await execute(attempt_of(interrupt_before=["b"]), graph, saver)

    journal = await execute(replace(attempt_of(input=None, interrupt_before=["b"]), position=2), graph, saver)

    assert calls == ["a", "b"]
    assert journal.outcome is not None and not journal.outcome.waits_for_input


async def test_an_attempt_that_is_told_to_stop_before_it_starts_runs_nothing(saver: FencedSaver) -> None:
    calls: list[str] = []
    journal = FakeJournal()
    execution = Execution(attempt_of(), journal, Registry({"g": graph_of("a", calls=calls)}), saver)
    execution.stop(Reason.CANCEL)

    assert await execution.run() is Ended.SETTLED
    assert calls == []
    assert journal.outcome == Outcome(RunStatus.INTERRUPTED)


async def test_an_older_attempt_writes_nothing_once_a_newer_one_was_there(saver: FencedSaver) -> None:
    attempt = attempt_of()
    graph = graph_of("a", calls=[])
    await execute(again(attempt), graph, saver)
    execution = Execution(attempt, FakeJournal(), Registry({"g": graph}), saver)

    assert await execution.run() is Ended.LOST


def adding_graph() -> Any:
    """A graph whose state can only be added to by lists."""
    builder = StateGraph(MessagesState)
    builder.add_node("a", lambda state: {"messages": [("ai", "hello")]})
    builder.add_edge(START, "a")
    return builder.compile()


def next_run(position: int, **kwargs: Any) -> Attempt:
    return replace(attempt_of(**kwargs), position=position)


async def test_a_command_that_does_not_apply_leaves_the_thread_as_it_was(saver: FencedSaver) -> None:
    graph = adding_graph()
    hello = {"messages": [("user", "hi")]}
    await execute(next_run(1, input=hello), graph, saver)
    failed = await execute(next_run(2, input=None, command={"update": {"messages": 5}}), graph, saver)

    after = await execute(next_run(3, input=hello), graph, saver)

    assert failed.outcome is not None and failed.outcome.status is RunStatus.ERROR
    assert after.outcome is not None and after.outcome.status is RunStatus.SUCCESS
    assert len(orjson.loads(after.outcome.values or b"")["messages"]) == 4


async def test_an_answer_at_a_checkpoint_of_a_subgraph_goes_on_from_there(saver: FencedSaver) -> None:
    calls: list[str] = []

    def node(name: str) -> Any:
        async def run(state: State) -> State:
            calls.append(name)
            return {"steps": [*state["steps"], name]}

        return run

    async def asking(state: State) -> State:
        calls.append("asking")
        return {"steps": [*state["steps"], interrupt("?")]}

    inner = StateGraph(State).add_node("first", node("first")).add_node("asking", asking)
    inner.add_edge(START, "first").add_edge("first", "asking")
    outer = StateGraph(State).add_node("before", node("before")).add_node("child", inner.compile())
    outer.add_edge(START, "before").add_edge("before", "child")
    graph: Any = outer.compile()
    await execute(attempt_of(), graph, saver)
    graph.checkpointer = saver
    snapshot = await graph.aget_state({"configurable": {"thread_id": "t"}}, subgraphs=True)
    checkpoint = snapshot.tasks[0].state.config["configurable"]
    await execute(next_run(2, input=None, command={"resume": "yes"}), graph, saver)
    del calls[:]
    other = next_run(3, input=None, command={"resume": "no"})
    other.kwargs["config"]["configurable"].update(checkpoint)
    journal = await execute(other, graph, saver)
    assert calls == ["asking"]
    assert journal.outcome is not None
    assert orjson.loads(journal.outcome.values or b"") == {"steps": ["before", "first", "no"]}


async def test_a_run_from_a_checkpoint_that_is_not_there_fails_and_writes_nothing(saver: FencedSaver) -> None:
    graph = graph_of("a", calls=(calls := []))
    await execute(next_run(1), graph, saver)
    server = attempt_of().kwargs["config"]["configurable"]
    config = {"configurable": {**server, "checkpoint_id": "1f000000-0000-6000-8000-000000000000"}, "metadata": server}

    journal = await execute(next_run(2, config=config), graph, saver)

    assert calls == ["a"]
    assert journal.outcome is not None and journal.outcome.error == {
        "error": "CheckpointNotFound",
        "message": "The thread has no checkpoint with this id.",
    }


@pytest.mark.parametrize("mode", ["checkpoints", "debug", "events", "messages-tuple", "messages", "tasks"])
async def test_what_the_caller_configured_is_written_down_nowhere(saver: FencedSaver, mode: str) -> None:
    attempt = attempt_of(input={"messages": [("user", "hi")]}, stream_mode=[mode])
    attempt.kwargs["config"]["configurable"] = {
        **attempt.kwargs["config"]["configurable"],
        "provider_key": "s3cret",
        "password": "s3cret",
    }

    journal = await execute(attempt, adding_graph(), saver)

    assert journal.records
    assert b"s3cret" not in b"".join(item.data for item in journal.records)
    async for stored in saver.alist({"configurable": {"thread_id": "t"}}):
        assert "s3cret" not in str(stored.metadata)
