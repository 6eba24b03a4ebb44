"""What graphs look like: drawn, with their subgraphs, and the schemas of what they take and give."""

import copy
import logging
import sys
import typing
from collections.abc import Callable
from functools import partial
from typing import Any

import typing_extensions
from langchain_core.runnables.config import run_in_executor
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel

from runs.engine.desk.questions import Answer, Means, Params

logger = logging.getLogger(__name__)

Schema = dict[str, Any]
Read = Callable[[Any], Any]


async def graph(means: Means, params: Params) -> Any:
    return await _read(means, params, partial(_drawn, xray=params["xray"]))


async def schemas(means: Means, params: Params) -> Any:
    return await _read(means, params, partial(_schemas, graph_id=params["graph_id"]))


async def subgraphs(means: Means, params: Params) -> Any:
    read = partial(_subgraphs, graph_id=params["graph_id"], namespace=params["namespace"], recurse=params["recurse"])
    return await _read(means, params, read)


async def _read(means: Means, params: Params, read: Read) -> Any:
    """Have a thread read the graph: a large one takes a while, for which no run is to stop."""
    async with means.open(params, params["config"], "assistants.read") as graph:
        return await run_in_executor(None, read, graph)


def _drawn(graph: Any, *, xray: bool | int) -> dict[str, Any]:
    drawn: dict[str, Any] = graph.get_graph(xray=xray).to_json()
    return drawn


def _subgraphs(graph: Any, *, graph_id: str, namespace: str | None, recurse: bool) -> dict[str, Schema]:
    # The one of a namespace is looked for at its depth.
    found = graph.get_subgraphs(namespace=namespace, recurse=recurse or namespace is not None)
    return {name: _schemas(subgraph, graph_id=graph_id) for name, subgraph in found}


def _schemas(graph: Any, *, graph_id: str) -> Schema:
    """JSON schemas of what a graph takes and gives; null where it names none, or none that can be made."""
    graph = _describable(graph)
    context = _schema_of(graph, "get_context_jsonschema")
    return {
        "graph_id": graph_id,
        "input_schema": _schema_of(graph, "get_input_jsonschema"),
        "output_schema": _schema_of(graph, "get_output_jsonschema"),
        "state_schema": _schema_of(_with_state_as_output(graph), "get_output_jsonschema"),
        # An assistant's `configurable` and its context mirror each other.
        "config_schema": context,
        "context_schema": context,
    }


def _schema_of(graph: Any, name: str) -> Schema | None:
    make = getattr(graph, name, None)
    if make is None:
        return None
    try:
        schema: Schema | None = make()
    except Exception as exc:  # Types of others, which may be anything.
        logger.info("no schema by %s of graph %s: %s", name, graph.get_name(), type(exc).__name__)
        return None
    return schema


def _with_state_as_output(graph: Any) -> Any:
    """A copy of the graph that gives its whole state."""
    if not isinstance(graph, Pregel):
        return graph
    graph = copy.copy(graph)
    graph.output_channels = graph.stream_channels_asis
    if isinstance(graph, CompiledStateGraph):
        graph.builder = copy.copy(graph.builder)
        graph.builder.output_schema = graph.builder.state_schema
    return graph


def _describable(graph: Any) -> Any:
    """A copy of the graph whose types pydantic can describe."""
    if not isinstance(graph, Pregel) or sys.version_info >= (3, 12):
        return graph
    graph = copy.copy(graph)
    graph.context_schema = _portable(graph.context_schema)
    if isinstance(graph, CompiledStateGraph):
        graph.builder = builder = copy.copy(graph.builder)
        # What is no TypedDict is looked up by its type.
        builder.input_schema = _portable(builder.input_schema)
        builder.output_schema = _portable(builder.output_schema)
        builder.state_schema = _portable(builder.state_schema)
    return graph


def _portable(schema: Any) -> Any:
    """A TypedDict of `typing`, which pydantic describes from Python 3.12 on, as one that it describes before."""
    if not typing.is_typeddict(schema):
        return schema
    try:
        hints = typing_extensions.get_type_hints(schema, include_extras=True)
    except NameError:  # A name that exists for type checkers only.
        return schema
    return typing_extensions.TypedDict(schema.__name__, hints, total=schema.__total__)  # type: ignore[operator]


ANSWERS: dict[str, Answer] = {"graph": graph, "schemas": schemas, "subgraphs": subgraphs}
