"""What LangGraph alone does with the same graphs: one process, no server, without and with its SQLite saver.

    .venv/bin/python -m bench.baseline

prints one JSON object. It runs in a process of its own, so that neither it nor the driver slows the other down.
"""

import asyncio
import gc
import json
import statistics
import tempfile
import time
import uuid
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph.state import CompiledStateGraph

from bench.graphs import graphs

Graph = CompiledStateGraph[Any, Any, Any, Any]
_INPUT: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}
_WARM = 20


async def measure(runs: int = 240, tokens: int = 2000, sleepers: int = 100) -> dict[str, float]:
    """Figures by name; those that begin with `saver_` are with the SQLite saver, on a file."""
    figures = await _echo(graphs.echo, runs)
    with tempfile.TemporaryDirectory(prefix="deerflow-bench-") as directory:
        async with AsyncSqliteSaver.from_conn_string(str(Path(directory, "checkpoints.sqlite3"))) as saver:
            kept = await _echo(graphs.echo.copy(update={"checkpointer": saver}), runs)
            kept |= await _tokens(graphs.tokens.copy(update={"checkpointer": saver}), tokens)
    figures |= await _tokens(graphs.tokens, tokens)
    figures |= await _floor(graphs.tokens, tokens // 5)
    figures["slow_seconds"] = await _seconds(
        asyncio.gather(*(graphs.slow.ainvoke({}, _config()) for _ in range(sleepers)))
    )
    return figures | {f"saver_{name}": value for name, value in kept.items()}


async def _echo(graph: Graph, runs: int, clients: int = 16) -> dict[str, float]:
    """One run after another, and many at once, each on a new thread."""
    seconds = [await _seconds(graph.ainvoke(_INPUT, _config())) for _ in range(_WARM + runs)][_WARM:]

    async def client() -> None:
        for _ in range(runs // clients):
            await graph.ainvoke(_INPUT, _config())

    together = await _seconds(asyncio.gather(*(client() for _ in range(clients))))
    return {"echo_ms": statistics.median(seconds) * 1e3, "echo_runs_per_s": runs // clients * clients / together}


async def _tokens(graph: Graph, tokens: int, times: int = 5) -> dict[str, float]:
    """The median of several streams, each as fast as the model gives its tokens."""
    rates = []
    for _ in range(times):
        started = time.perf_counter()
        events = await _count(graph, tokens)
        rates.append(events / (time.perf_counter() - started))
    return {"token_events_per_s": statistics.median(rates)}


async def _floor(graph: Graph, tokens: int, delay: float = 0.003, readers: int = 40) -> dict[str, float]:
    """A model that takes its time; `fanout_events_per_s` is what so many readers would see of it, were they free."""
    started = time.perf_counter()
    events = await _count(graph, tokens, delay)
    seconds = time.perf_counter() - started
    return {"floor_seconds": seconds, "fanout_events_per_s": readers * events / seconds}


async def _count(graph: Graph, tokens: int, delay: float = 0) -> int:
    """How many token events the graph streams."""
    events = 0
    async for _ in graph.astream(_INPUT, _config(n=tokens, delay=delay), stream_mode="messages"):
        events += 1
    return events


async def _seconds(work: Awaitable[Any]) -> float:
    started = time.perf_counter()
    await work
    return time.perf_counter() - started


def _config(**options: float) -> RunnableConfig:
    return {"configurable": {"thread_id": str(uuid.uuid4()), **options}}


if __name__ == "__main__":
    # Looking through all that was imported takes as long as a stream, and would come into some of them and not others.
    gc.collect()
    gc.freeze()
    print(json.dumps(asyncio.run(measure())))
