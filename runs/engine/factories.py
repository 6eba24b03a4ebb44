"""Recognises functions that make a graph for each call: what they ask for, and how to get the graph out of them.

A factory takes nothing, the run's config, the server's runtime, or both, and may be a function, a coroutine function
or an async context manager.
"""

import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, is_dataclass, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import run_in_executor
from langgraph.graph import StateGraph
from langgraph.pregel import Pregel
from langgraph_sdk.runtime import ServerRuntime, _ExecutionRuntime, _ReadRuntime
from pydantic import BaseModel

Role = Literal["config", "runtime"]
Runtime = _ExecutionRuntime[Any] | _ReadRuntime[Any]
AnyGraph = Pregel[Any, Any, Any, Any]

ROLES: tuple[Role, ...] = ("config", "runtime")
RUNTIME_TYPES = (ServerRuntime, _ExecutionRuntime, _ReadRuntime)


@dataclass(frozen=True, slots=True)
class Factory:
    """A function that makes a graph, with what each of its parameters is to be given."""

    function: Callable[..., Any]
    positional: tuple[Role, ...]
    keywords: Mapping[str, Role]
    #: The T of an annotation `ServerRuntime[T]`.
    context_type: type | None

    async def build(self, stack: AsyncExitStack, config: RunnableConfig, runtime: Runtime) -> AnyGraph:
        """Make the graph; what it holds open is closed with `stack`."""
        given = {"config": config, "runtime": _typed_context(runtime, self.context_type)}
        args = [given[role] for role in self.positional]
        kwargs = {name: given[role] for name, role in self.keywords.items()}
        if inspect.iscoroutinefunction(self.function):
            made = await self.function(*args, **kwargs)
        else:
            # In a thread, as it may block. asyncio.to_thread would never come back from one that raises StopIteration.
            made = await run_in_executor(None, self.function, *args, **kwargs)
        if inspect.isawaitable(made):
            made = await made
        if isinstance(made, AbstractAsyncContextManager):
            made = await stack.enter_async_context(made)
        return compiled(made)


def recognise(value: object) -> AnyGraph | Factory:
    """Return the graph or the factory that a deployment named; TypeError if it is neither."""
    if isinstance(value, Pregel | StateGraph) or not callable(value):
        return compiled(value)
    return _factory(value)


def compiled(value: object) -> AnyGraph:
    """Return `value` as a compiled graph; TypeError if it is not a graph."""
    if isinstance(value, Pregel):
        return value
    if isinstance(value, StateGraph):
        return value.compile()
    raise TypeError(f"expected a graph or a function that makes one, not {type(value).__name__}")


def _factory(function: Callable[..., Any]) -> Factory:
    parameters = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    annotations = _annotations(function, parameters)
    roles = _assign_roles(parameters, annotations)
    positional = tuple(roles[p.name] for p in parameters if p.kind is p.POSITIONAL_ONLY and p.name in roles)
    keywords = {p.name: roles[p.name] for p in parameters if p.kind is not p.POSITIONAL_ONLY and p.name in roles}
    context_types = [_context_type(annotations[name]) for name, role in roles.items() if role == "runtime"]
    return Factory(function, positional, keywords, next(iter(context_types), None))


def _assign_roles(parameters: list[inspect.Parameter], annotations: Mapping[str, object]) -> dict[str, Role]:
    """Say for each parameter what it gets: by annotation, else by name, else the roles left over in their order."""
    roles: dict[str, Role] = {}
    for parameter in parameters:
        if role := _role_of(parameter.name, annotations[parameter.name]):
            roles[parameter.name] = role
    left = [role for role in ROLES if role not in roles.values()]
    for parameter in parameters:
        if parameter.name in roles or parameter.default is not parameter.empty:
            continue
        if not left:
            raise TypeError(f"a graph factory takes a config and a runtime, not also {parameter.name!r}")
        roles[parameter.name] = left.pop(0)
    return roles


def _role_of(name: str, annotation: object) -> Role | None:
    if _mentions_runtime(annotation):
        return "runtime"
    if annotation is RunnableConfig or (isinstance(annotation, str) and "RunnableConfig" in annotation):
        return "config"
    return next((role for role in ROLES if role == name), None)


def _mentions_runtime(annotation: object) -> bool:
    if isinstance(annotation, str):
        return "ServerRuntime" in annotation
    if annotation in RUNTIME_TYPES or get_origin(annotation) in RUNTIME_TYPES:
        return True
    return any(_mentions_runtime(part) for part in get_args(annotation))


def _annotations(function: Callable[..., Any], parameters: list[inspect.Parameter]) -> dict[str, object]:
    """Return the annotation of each parameter, as its text where a name in it exists for type checkers only."""
    target = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    try:
        hints = get_type_hints(target)
    except (NameError, TypeError, AttributeError):
        hints = {}
    return {p.name: hints.get(p.name, p.annotation) for p in parameters}


def _context_type(annotation: object) -> type | None:
    for part in (annotation, *get_args(annotation)):
        if get_origin(part) in RUNTIME_TYPES and isinstance(argument := get_args(part)[0], type):
            return argument
    return None


def _typed_context(runtime: Runtime, context_type: type | None) -> Runtime:
    """Give an executing factory its context as the type that it asked for, like nodes get theirs from LangGraph."""
    if not isinstance(runtime, _ExecutionRuntime) or not isinstance(runtime.context, Mapping):
        return runtime
    if context_type is None or not (is_dataclass(context_type) or issubclass(context_type, BaseModel)):
        return runtime
    return replace(runtime, context=context_type(**runtime.context))
