"""Questions about state: every one has an answer, whatever the code of the graph does."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypedDict

import orjson
import pytest
from langgraph.graph import START, StateGraph

from runs.engine.desk import Desk, Refused
from runs.engine.storage import FencedSaver, SqliteDatabase, open_saver

ABOUT = {"thread_id": "thread", "graph_id": "graph", "organization_id": "acme", "user_id": None, "checkpoint": {}}
UPDATE = {**ABOUT, "position": 1, "about": {}}


class State(TypedDict):
    items: list[int]


def last_item(state: State) -> str:
    return "odd" if state["items"][-1] % 2 else "even"


def graph() -> StateGraph[Any]:
    graph = StateGraph(State)
    for name in ("start", "odd", "even"):
        graph.add_node(name, lambda state: state)
    graph.add_edge(START, "start")
    graph.add_conditional_edges("start", last_item, ["odd", "even"])
    return graph


class OneGraph:
    """A registry of one graph."""

    error: Exception | None = None

    @asynccontextmanager
    async def open(self, graph_id: str, config: Any, *, checkpointer: FencedSaver, **_: Any) -> AsyncIterator[Any]:
        if self.error:
            raise self.error
        yield graph().compile(checkpointer=checkpointer)


@pytest.fixture
def registry() -> Iterator[OneGraph]:
    yield OneGraph()


@pytest.fixture
async def desk(tmp_path: Path, registry: OneGraph) -> AsyncIterator[Desk]:
    async with open_saver(SqliteDatabase(tmp_path / "checkpoints.sqlite3")) as saver:
        yield Desk(registry, saver)  # type: ignore[arg-type]


async def test_an_update_is_answered_with_the_new_state(desk: Desk) -> None:
    answer = orjson.loads(await desk.answer("update", {**UPDATE, "values": {"items": [1]}, "as_node": "start"}))
    assert answer["state"]["values"] == {"items": [1]}
    assert answer["state"]["next"] == ["odd"]
    state = orjson.loads(await desk.answer("state", {**ABOUT, "subgraphs": False}))
    assert state == answer["state"]


@pytest.mark.parametrize("values", [{"items": []}, {"items": ["text"]}, {"items": None}])
async def test_what_a_branch_of_the_graph_raises_is_the_answer(desk: Desk, values: Any) -> None:
    with pytest.raises(Refused, match=r"The state can not be updated so: (IndexError|TypeError)") as refused:
        await desk.answer("update", {**UPDATE, "values": values, "as_node": "start"})
    assert refused.value.status == 422


async def test_an_unknown_node_is_refused(desk: Desk) -> None:
    with pytest.raises(Refused, match="nowhere") as refused:
        await desk.answer("update", {**UPDATE, "values": {"items": [1]}, "as_node": "nowhere"})
    assert refused.value.status == 422


async def test_an_unforeseen_failure_is_an_answer_too(
    desk: Desk, registry: OneGraph, caplog: pytest.LogCaptureFixture
) -> None:
    registry.error = RuntimeError("the password is hunter2")
    with pytest.raises(Refused) as refused:
        await desk.answer("state", {**ABOUT, "subgraphs": False})
    assert (refused.value.status, refused.value.detail) == (
        422,
        "The graph failed to answer: RuntimeError.",
    )
    assert "thread_id=thread" in caplog.text
