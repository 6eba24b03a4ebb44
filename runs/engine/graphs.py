"""The graphs of this engine: loaded once when it starts, opened for each run or read.

Loading imports the code that people bring. It is synchronous and takes place before the engine's event loop runs, so
that a module may do what any module may; one that fails costs its own graph only.
"""

import copy
import logging
import os
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.store.base import BaseStore
from langgraph_sdk.auth.types import BaseUser
from langgraph_sdk.runtime import AccessContext, _ExecutionRuntime, _ReadRuntime

from runs.engine.factories import AnyGraph, Factory, Runtime, recognise
from runs.engine.loading import extend_import_path, load_attribute, reason_of
from runs.langgraph_json import LEAD_AGENT, GraphConfig, GraphSpec

logger = logging.getLogger(__name__)

Checkpointer = BaseCheckpointSaver[Any] | None

#: The name of a graph that was compiled without one.
UNNAMED = "LangGraph"


class UnknownGraph(Exception):
    """No graph has this id."""

    def __init__(self, graph_id: str) -> None:
        super().__init__(graph_id)
        self.graph_id = graph_id

    def __str__(self) -> str:
        return f"There is no graph {self.graph_id!r}."


class BrokenGraph(Exception):
    """The code of this graph could not be loaded, or its factory failed."""

    def __init__(self, graph_id: str, reason: str) -> None:
        super().__init__(graph_id, reason)
        self.graph_id = graph_id
        self.reason = reason

    def __str__(self) -> str:
        return f"The graph {self.graph_id!r} is broken: {self.reason}"


class Registry:
    """Graphs by id. Whatever a graph's code does, the others stay usable."""

    def __init__(self, graphs: Mapping[str, AnyGraph | Factory], errors: Mapping[str, str] | None = None) -> None:
        self._graphs = dict(graphs)
        #: Why a graph is missing: "ExceptionType: message" by graph id, fit for everybody's eyes.
        self.errors = dict(errors or {})

    @classmethod
    def load(cls, config: GraphConfig, *, model: str = "") -> "Registry":
        """Import every graph of `config`; `model` is what the built-in one talks with, empty for the offline model.

        Variables of the config's env that the process does not have yet are set for the whole process.
        """
        for name, value in config.env.items():
            os.environ.setdefault(name, value)
        extend_import_path(config.import_paths)
        if config.ignored:
            logger.warning("keys of langgraph.json without effect here: %s", ", ".join(config.ignored))
        registry = cls({})
        for spec in config.graphs.values():
            registry._add(spec, config, model)
        return registry

    def _add(self, spec: GraphSpec, config: GraphConfig, model: str) -> None:
        try:
            value = load_attribute(spec, config.import_paths)
            if spec == LEAD_AGENT and callable(value):
                value = value(model)
            self._graphs[spec.graph_id] = recognise(value)
        except (Exception, SystemExit) as exc:  # the code of others: anything may come out of it
            logger.exception("graph %s failed to load", spec.graph_id)
            self.errors[spec.graph_id] = reason_of(exc)

    @property
    def graph_ids(self) -> Collection[str]:
        """The graphs that can be opened."""
        return self._graphs.keys()

    def open(
        self,
        graph_id: str,
        config: RunnableConfig,
        *,
        access_context: AccessContext,
        checkpointer: Checkpointer,
        store: BaseStore | None,
        context: object = None,
        user: BaseUser | None = None,
    ) -> AbstractAsyncContextManager[AnyGraph]:
        """Lend the graph, bound to `checkpointer` and `store`; a factory makes it anew and is closed afterwards.

        Raises UnknownGraph and BrokenGraph, the latter on entering too, when a factory fails.
        """
        if graph_id in self.errors:
            raise BrokenGraph(graph_id, self.errors[graph_id])
        found = self._graphs.get(graph_id)
        if found is None:
            raise UnknownGraph(graph_id)
        if isinstance(found, Factory):
            runtime = _server_runtime(access_context, user, store, context)
            return _made(graph_id, found, config, runtime, checkpointer, store)
        return _Lent(_bind(found, graph_id, checkpointer, store))


class _Lent:
    """The context manager of a graph that needs no closing; a generator would cost more than the binding."""

    __slots__ = ("graph",)

    def __init__(self, graph: AnyGraph) -> None:
        self.graph = graph

    async def __aenter__(self) -> AnyGraph:
        return self.graph

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None


@asynccontextmanager
async def _made(
    graph_id: str,
    factory: Factory,
    config: RunnableConfig,
    runtime: Runtime,
    checkpointer: Checkpointer,
    store: BaseStore | None,
) -> AsyncIterator[AnyGraph]:
    async with AsyncExitStack() as stack:
        try:
            graph = await factory.build(stack, config, runtime)
        except (Exception, SystemExit) as exc:  # the code of others: anything may come out of it
            logger.exception("the factory of graph %s failed", graph_id)
            raise BrokenGraph(graph_id, reason_of(exc)) from exc
        yield _bind(graph, graph_id, checkpointer, store)


def _bind(graph: AnyGraph, graph_id: str, checkpointer: Checkpointer, store: BaseStore | None) -> AnyGraph:
    # Not graph.copy(): that builds and validates the graph again and forgets which classes its checkpoints may hold.
    bound = copy.copy(graph)
    bound.checkpointer = checkpointer
    bound.store = store
    if bound.name == UNNAMED:
        bound.name = graph_id
    return bound


def _server_runtime(
    access_context: AccessContext, user: BaseUser | None, store: BaseStore | None, context: object
) -> Runtime:
    # The classes say that a store is always there; a server may have none.
    if access_context == "threads.create_run":
        return _ExecutionRuntime(access_context=access_context, user=user, store=store, context=context)  # type: ignore[arg-type]
    return _ReadRuntime(access_context=access_context, user=user, store=store)  # type: ignore[arg-type]
