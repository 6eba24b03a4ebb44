"""Questions about state: every one has an answer, whatever the code of the graph does."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypedDict

import orjson
import pytest
from langgraph.graph import START, StateGraph
from langgraph.store.base import PutOp

from runs.engine.desk import Desk, Refused
from runs.engine.keeping import load_keeping
from runs.engine.storage import FencedSaver, SqliteDatabase, open_saver
from runs.langgraph_json import GraphConfig, GraphSpec, IndexSpec, StoreSpec

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


ALICE = {"organization_id": "acme", "user_id": "alice"}
PUT = {**ALICE, "namespace": ["a"], "index": None, "ttl": None}
SEARCH = {**ALICE, "namespace_prefix": [], "filter": None, "query": None, "offset": 0, "refresh_ttl": None}


async def test_items_are_found_past_the_first_page(desk: Desk) -> None:
    for number in range(205):
        await desk.answer("put_item", {**PUT, "key": f"k{number}", "value": {"n": number}})
    for limit, offset, found in ((1000, 0, 205), (200, 0, 200), (203, 0, 203), (150, 100, 105), (10, 205, 0)):
        answer = orjson.loads(await desk.answer("search_items", {**SEARCH, "limit": limit, "offset": offset}))
        keys = [item["key"] for item in answer["items"]]
        assert keys == [f"k{number}" for number in reversed(range(205))][offset : offset + limit]
        assert len(keys) == found


async def test_more_items_than_one_answer_holds_are_refused(desk: Desk) -> None:
    for number in range(17):
        await desk.answer("put_item", {**PUT, "key": f"k{number}", "value": {"text": "x" * 2**20}})
    with pytest.raises(Refused, match="too large") as refused:
        await desk.answer("search_items", {**SEARCH, "limit": 100})
    assert refused.value.status == 422
    assert len(orjson.loads(await desk.answer("search_items", {**SEARCH, "limit": 3}))["items"]) == 3


async def test_times_of_items_say_their_zone(desk: Desk) -> None:
    await desk.answer("put_item", {**PUT, "key": "k", "value": {}})
    item = orjson.loads(await desk.answer("get_item", {**ALICE, "namespace": ["a"], "key": "k", "refresh_ttl": None}))
    for name in ("created_at", "updated_at"):
        age = datetime.now(UTC) - datetime.fromisoformat(item[name])
        assert timedelta() <= age < timedelta(minutes=1)


async def test_a_model_that_fails_makes_a_search_worth_trying_again(tmp_path: Path, registry: OneGraph) -> None:
    index = IndexSpec(3, GraphSpec("store.index.embed", tmp_path / "nowhere.py", "embed"))
    keeping = load_keeping(GraphConfig({}, store=StoreSpec(index)))
    async with open_saver(SqliteDatabase(tmp_path / "indexed.sqlite3", index), keeping) as saver:
        desk = Desk(registry, saver)  # type: ignore[arg-type]
        for question, params in (
            ("put_item", {**PUT, "key": "k", "value": {"text": "x"}}),
            ("search_items", {**SEARCH, "query": "x", "limit": 3}),
        ):
            with pytest.raises(Refused, match="could not be made vectors") as refused:
                await desk.answer(question, params)
            assert refused.value.status == 503
        assert orjson.loads(await desk.answer("search_items", {**SEARCH, "limit": 3})) == {"items": []}


@pytest.mark.parametrize("attribute", ["plain", "asynchronous", "embeddings"])
async def test_an_index_takes_functions_and_embeddings(tmp_path: Path, attribute: str) -> None:
    (tmp_path / "model_of_test.py").write_text(_MODEL)
    spec = IndexSpec(2, GraphSpec("store.index.embed", tmp_path / "model_of_test.py", attribute))
    keeping = load_keeping(GraphConfig({}, store=StoreSpec(spec, default_ttl=5, refresh_on_read=False)))
    assert keeping.ttl == {"default_ttl": 5, "refresh_on_read": False}
    assert keeping.index is not None
    assert await keeping.index.avectors([PutOp(("a",), "k", {"text": "x"})]) == {'{"text": "x"}': [1.0, 2.0]}


_MODEL = """
from langchain_core.embeddings import Embeddings

def plain(texts):
    return [[1, 2] for _ in texts]

async def asynchronous(texts):
    return plain(texts)

class Model(Embeddings):
    def embed_documents(self, texts):
        return plain(texts)
    def embed_query(self, text):
        return plain([text])[0]

embeddings = Model()
"""
