"""The stream of a graph: its items, each with its namespace and the stream mode that it belongs to."""

import warnings
from collections.abc import AsyncIterator
from dataclasses import fields, is_dataclass
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.stream import StreamTransformer
from pydantic import BaseModel

from runs.engine.emission import INTERRUPT, Emission, Namespace
from runs.engine.factories import AnyGraph
from runs.engine.protocol_emission import NAMED, SOURCES

Item = tuple[Namespace, str, Any]


async def stream_of(
    graph: AnyGraph,
    given: Any,
    config: RunnableConfig,
    emission: Emission,
    kwargs: dict[str, Any],
) -> AsyncIterator[Item]:
    """Run the graph as `kwargs` of its run say, with what `emission` needs."""
    asked: dict[str, Any] = {
        "context": kwargs["context"] or None,
        "interrupt_before": kwargs["interrupt_before"],
        "interrupt_after": kwargs["interrupt_after"],
        "durability": kwargs["durability"],
    }
    options = {name: value for name, value in asked.items() if value is not None}
    if kwargs.get("event_streaming") and _has_its_own(graph):
        async for item in _stream_transformed(graph, given, config, options, emission):
            yield item
        return
    options |= {"stream_mode": emission.sources, "subgraphs": kwargs["subgraphs"]}
    if "events" in emission.modes:
        async for item in _stream_events(graph, given, config, options, emission):
            yield item
        return
    async for item in graph.astream(given, config, **options):
        yield _placed(item)


async def _stream_events(
    graph: AnyGraph, given: Any, config: RunnableConfig, options: dict[str, Any], emission: Emission
) -> AsyncIterator[Item]:
    root = str(config["run_id"])
    async for event in graph.astream_events(given, config, version="v2", **options):
        emission.take_event(event)
        if event["event"] == "on_chain_stream" and event["run_id"] == root:
            yield _placed(event["data"]["chunk"])


def _placed(item: Any) -> Item:
    """An item of the stream, whether or not the graph was asked for subgraphs."""
    if len(item) == 3:
        return item[0], item[1], item[2]
    return (), item[0], item[1]


def _has_its_own(graph: AnyGraph) -> bool:
    """Whether the graph was compiled with stream transformers that add to its stream or change it.

    LangChain's agents have some that only serve readers in the same process; these are `_native`.
    """
    return any(
        not getattr(factory, "_native", False) or getattr(factory, "before_builtins", False)
        for factory in graph.stream_transformers
    )


async def _stream_transformed(
    graph: AnyGraph, given: Any, config: RunnableConfig, options: dict[str, Any], emission: Emission
) -> AsyncIterator[Item]:
    """The stream as the graph's transformers leave it, and what they add to it.

    Tasks are taken by `emission` as they come, since LangGraph's own transformers leave them out.
    """

    taps = iter([emission])

    def tap(scope: Namespace) -> StreamTransformer:
        # Another one is made for each subgraph, to see again what the first has seen.
        return _Tap(scope, next(taps, None))

    with warnings.catch_warnings():
        # Nothing else runs meanwhile: it only makes the stream.
        warnings.filterwarnings("ignore", "The v3 streaming protocol")
        run = await graph.astream_events(given, config, version="v3", transformers=[tap], **options)
    async with run:
        async for event in run:
            method, params = event["method"], event["params"]
            namespace, data = tuple(params["namespace"]), params["data"]
            if method == "values":
                yield namespace, method, _values(data, params.get("interrupts"))
            elif method != "tasks" and (method in SOURCES or method.startswith(NAMED)):
                yield namespace, method, data


class _Tap(StreamTransformer):
    """Sees to it that the graph emits all that a run records."""

    required_stream_modes = SOURCES

    def __init__(self, scope: Namespace, emission: Emission | None) -> None:
        super().__init__(scope)
        self._emission = emission

    def init(self) -> dict[str, Any]:
        return {}

    def process(self, event: Any) -> bool:
        if event["method"] == "tasks" and self._emission:
            self._emission.take(tuple(event["params"]["namespace"]), "tasks", event["params"]["data"])
        return True


def _values(data: Any, interrupts: Any) -> Any:
    """Values as LangGraph emits them elsewhere: a dictionary, with the interrupts among them."""
    if isinstance(data, BaseModel):
        data = {name: getattr(data, name) for name in type(data).model_fields}
    elif is_dataclass(data) and not isinstance(data, type):
        data = {field.name: getattr(data, field.name) for field in fields(data)}
    return {**data, INTERRUPT: tuple(interrupts)} if interrupts and isinstance(data, dict) else data
