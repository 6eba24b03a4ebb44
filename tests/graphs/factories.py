"""Every shape in which a deployment may hand over a graph; each says in its answer what it was given."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.pregel import Pregel
from langgraph_sdk.runtime import ServerRuntime

Graph = Pregel[Any, Any, Any, Any]

#: What `managed` did, in order.
journal: list[str] = []


@dataclass
class Tone:
    loud: bool = False


def saying(text: str) -> StateGraph[MessagesState]:
    async def say(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(text)]}

    return StateGraph(MessagesState).add_node("say", say).add_edge(START, "say")


builder = saying("from a builder")


def without_arguments() -> StateGraph[MessagesState]:
    return saying("from nothing")


def with_config(config: RunnableConfig) -> Graph:
    return saying(f"from config {config.get('configurable', {}).get('color')}").compile()


def with_runtime(runtime: ServerRuntime[Tone]) -> Graph:
    execution = runtime.execution_runtime
    context = execution.context if execution else None
    return saying(f"from runtime {runtime.access_context} {context}").compile()


def with_both(config: RunnableConfig, runtime: ServerRuntime) -> Graph:
    color = config.get("configurable", {}).get("color")
    return saying(f"from config {color} and runtime {runtime.access_context}").compile()


async def asynchronous(config: RunnableConfig) -> Graph:
    return with_config(config)


@asynccontextmanager
async def managed(runtime: ServerRuntime) -> AsyncIterator[Graph]:
    journal.append("opened")
    try:
        yield saying("from a context").compile()
    finally:
        journal.append("closed")


def failing(config: RunnableConfig) -> Graph:
    raise RuntimeError("this factory always fails")
