"""Questions about graphs: what they look like, whoever made them and of whatever types."""

import typing
from collections.abc import AsyncIterator
from dataclasses import dataclass
from operator import add
from pathlib import Path
from typing import Annotated, Any

import orjson
import pytest
from langgraph.func import entrypoint
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import BaseModel

from runs.engine.desk import Desk, Refused
from runs.engine.factories import recognise
from runs.engine.graphs import Registry
from runs.engine.storage import SqliteDatabase, open_saver


class Dict(typing.TypedDict):
    """Of `typing`: pydantic describes those of Python 3.11 only when they are made anew."""

    steps: Annotated[list[int], add]
    name: str


@dataclass
class Data:
    steps: Annotated[list[int], add]
    name: str = "x"


class Model(BaseModel):
    steps: Annotated[list[int], add]
    name: str = "x"


class Given(typing.TypedDict):
    name: str


class Unheard:
    """No JSON schema can be made of it."""


class Odd(typing.TypedDict):
    thing: Unheard


@dataclass
class Tone:
    loud: bool = False


def one_node(state: type, **options: Any) -> Any:
    return StateGraph(state, **options).add_node("say", lambda state: state).add_edge(START, "say")


def outer(node: str, inner: Any) -> Any:
    return StateGraph(MessagesState).add_node(node, inner).add_edge(START, node).compile()


@entrypoint()
async def function(text: str) -> int:
    return len(text)


def fails() -> Any:
    raise RuntimeError("this factory always fails")


def in_context(runtime: Any) -> Any:
    return one_node(Data).compile(name=runtime.access_context)


def by_config(config: Any) -> Any:
    return (
        StateGraph(MessagesState)
        .add_node(config["configurable"]["node"], lambda _: {})
        .add_edge(START, config["configurable"]["node"])
    )


GRAPHS: dict[str, Any] = {
    "dict": one_node(Dict, input_schema=Given, context_schema=Tone).compile(),
    "data": one_node(Data).compile(),
    "model": one_node(Model, context_schema=Given).compile(),
    "odd": one_node(Odd, input_schema=Given).compile(),
    "nested": outer("outer", outer("middle", one_node(MessagesState).compile())),
    "function": function,
    "fails": fails,
    "in_context": in_context,
    "by_config": by_config,
}
ABOUT = {"organization_id": "acme", "user_id": None, "config": {"configurable": {"node": "chosen"}}}


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    registry = Registry({name: recognise(graph) for name, graph in GRAPHS.items()}, {"broken": "NameError: x"})
    async with open_saver(SqliteDatabase(tmp_path / "checkpoints.sqlite3")) as saver:
        yield Desk(registry, saver)


async def ask(desk: Desk, method: str, graph_id: str, **params: Any) -> Any:
    return orjson.loads(await desk.answer(method, {**ABOUT, "graph_id": graph_id, **params}))


async def drawn(desk: Desk, graph_id: str, xray: bool | int = False) -> tuple[set[str], set[tuple[str, str]]]:
    answer = await ask(desk, "graph", graph_id, xray=xray)
    return {node["id"] for node in answer["nodes"]}, {(edge["source"], edge["target"]) for edge in answer["edges"]}


@pytest.mark.parametrize(
    ("xray", "node"), [(False, "outer"), (0, "outer"), (1, "outer:middle"), (2, "outer:middle:say")]
)
async def test_a_graph_is_drawn_as_deep_as_asked(desk: Desk, xray: bool | int, node: str) -> None:
    nodes, edges = await drawn(desk, "nested", xray)
    assert nodes == {"__start__", node, "__end__"}
    assert edges == {("__start__", node), (node, "__end__")}


async def test_a_graph_is_drawn_all_the_way(desk: Desk) -> None:
    assert "outer:middle:say" in (await drawn(desk, "nested", True))[0]


@pytest.mark.parametrize("graph_id", sorted(GRAPHS.keys() - {"fails", "odd"}))
async def test_all_graphs_are_drawn_and_described(desk: Desk, graph_id: str) -> None:
    assert (await drawn(desk, graph_id, True))[0]
    schemas = await ask(desk, "schemas", graph_id)
    assert schemas["graph_id"] == graph_id
    assert schemas["input_schema"] and schemas["output_schema"] and schemas["state_schema"]


@pytest.mark.parametrize(
    ("graph_id", "taken"), [("dict", {"name"}), ("data", {"steps", "name"}), ("model", {"steps", "name"})]
)
async def test_schemas_name_what_goes_in_and_out(desk: Desk, graph_id: str, taken: set[str]) -> None:
    schemas = await ask(desk, "schemas", graph_id)
    assert set(schemas["input_schema"]["properties"]) == taken
    assert set(schemas["output_schema"]["properties"]) == {"steps", "name"}
    assert set(schemas["state_schema"]["properties"]) == {"steps", "name"}
    assert schemas["state_schema"]["properties"]["steps"]["items"] == {"type": "integer"}


async def test_a_context_is_what_may_be_configured(desk: Desk) -> None:
    for graph_id, field in (("dict", "loud"), ("model", "name")):
        schemas = await ask(desk, "schemas", graph_id)
        assert set(schemas["context_schema"]["properties"]) == {field}
        assert schemas["config_schema"] == schemas["context_schema"]
    schemas = await ask(desk, "schemas", "data")
    assert schemas["config_schema"] is schemas["context_schema"] is None


async def test_a_schema_that_can_not_be_made_is_null_and_the_others_are_there(desk: Desk) -> None:
    schemas = await ask(desk, "schemas", "odd")
    assert schemas["state_schema"] is schemas["output_schema"] is None
    assert set(schemas["input_schema"]["properties"]) == {"name"}


async def test_describing_a_graph_leaves_it_as_it_is(desk: Desk) -> None:
    await ask(desk, "schemas", "dict")
    graph = GRAPHS["dict"]
    assert (graph.builder.input_schema, graph.builder.output_schema) == (Given, Dict)
    assert graph.output_channels == ["steps", "name"]


@pytest.mark.parametrize(
    ("namespace", "recurse", "found"),
    [
        (None, False, {"outer"}),
        (None, True, {"outer", "outer|middle"}),
        ("outer", False, {"outer"}),
        ("outer", True, {"outer"}),
        ("outer|middle", False, {"outer|middle"}),
        ("middle", True, set()),
        ("outer|", True, set()),
        ("|", True, set()),
        ("", True, set()),
        ("x" * 10_000, True, set()),
    ],
)
async def test_subgraphs_are_found_by_namespace(
    desk: Desk, namespace: str | None, recurse: bool, found: set[str]
) -> None:
    answer = await ask(desk, "subgraphs", "nested", namespace=namespace, recurse=recurse)
    assert set(answer) == found
    assert all(schemas["graph_id"] == "nested" and schemas["input_schema"] for schemas in answer.values())


async def test_a_factory_is_told_why_and_with_what_it_is_called(desk: Desk) -> None:
    assert (await ask(desk, "schemas", "in_context"))["input_schema"]["title"] == "assistants.read_input"
    assert "chosen" in (await drawn(desk, "by_config"))[0]


@pytest.mark.parametrize("method", ["graph", "schemas", "subgraphs"])
@pytest.mark.parametrize(("graph_id", "reason"), [("fails", "always fails"), ("broken", "NameError"), ("no", "'no'")])
async def test_a_graph_that_can_not_be_loaded_says_why(desk: Desk, method: str, graph_id: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason) as refused:
        await ask(desk, method, graph_id, xray=False, namespace=None, recurse=False)
    assert refused.value.status == 422
