"""Graphs that leave something behind in their engine, or take it along."""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph
from langgraph_sdk.runtime import ServerRuntime

#: Longer than anybody waits here.
_LONG = 120


class State(TypedDict, total=False):
    answer: str


def _graph_of(node: Callable[..., Awaitable[State]]) -> Any:
    return StateGraph(State).add_node("node", node).add_edge(START, "node").compile()


async def _answer(state: State) -> State:
    return {"answer": "yes"}


async def _sleep(state: State) -> State:
    await asyncio.sleep(3)
    return {"answer": "slept"}


async def _leave_a_task(state: State) -> State:
    async def later() -> None:
        await asyncio.sleep(0.5)
        time.sleep(_LONG)

    asyncio.get_running_loop().later = asyncio.create_task(later())  # type: ignore[attr-defined]
    return {"answer": "left"}


async def _leave_a_process(state: State) -> State:
    if os.fork() == 0:
        time.sleep(_LONG)
        os._exit(0)
    return {"answer": "forked"}


async def _exit(state: State) -> State:
    sys.exit(3)


async def _hoard(state: State, config: RunnableConfig) -> State:
    """Take 600 MiB and keep them; the next attempt is modest."""
    attempt = config["metadata"]["run_attempt"]
    if attempt == 1:
        hoard = bytearray(600 * 2**20)
        hoard[::4096] = b"x" * len(hoard[::4096])
        await asyncio.sleep(_LONG)
    return {"answer": f"attempt {attempt}"}


quiet = _graph_of(_answer)
hoards = _graph_of(_hoard)
sleeper = _graph_of(_sleep)
leaves_a_task = _graph_of(_leave_a_task)
leaves_a_process = _graph_of(_leave_a_process)
exits = _graph_of(_exit)


async def read_for_ever(runtime: ServerRuntime) -> Any:
    if runtime.execution_runtime is None:
        time.sleep(_LONG)
    return quiet
