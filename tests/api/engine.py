"""An engine that answers questions about state with what a test gives it: no graph, no process."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from runs import calls

CHECKPOINT = {"thread_id": "t", "checkpoint_ns": "", "checkpoint_id": "1f0a0000-0000-6000-8000-000000000001"}
STATE = {
    "values": {"steps": [1]},
    "next": [],
    "tasks": [],
    "metadata": {"source": "loop", "step": 1},
    "created_at": "2026-01-01T00:00:00+00:00",
    "checkpoint": CHECKPOINT,
    "parent_checkpoint": None,
    "interrupts": [],
    "checkpoint_id": CHECKPOINT["checkpoint_id"],
    "parent_checkpoint_id": None,
}
_SIZE = {"count": 1, "bytes": 10}
_SIZES = {**_SIZE, "by_channel": {"steps": _SIZE}}
STORAGE = {
    "thread_id": "t",
    "total_bytes": 30,
    "checkpoints": _SIZE,
    "channel_values": _SIZES,
    "pending_writes": _SIZES,
}
DRAWING = {
    "nodes": [
        {"id": "__start__", "type": "runnable", "data": {"id": ["RunnableCallable"], "name": "__start__"}},
        {"id": "say", "type": "runnable", "data": {"id": ["RunnableCallable"], "name": "say"}},
    ],
    "edges": [{"source": "__start__", "target": "say"}],
}
SCHEMAS = {
    "graph_id": "echo",
    "input_schema": {"title": "Input", "type": "object"},
    "output_schema": {"title": "Output", "type": "object"},
    "state_schema": {"title": "State", "type": "object"},
    "config_schema": None,
    "context_schema": None,
}


ITEM = {
    "namespace": ["a", "b"],
    "key": "c",
    "value": {"a": 1},
    "created_at": "2026-01-01T00:00:00+00:00",
    "updated_at": "2026-01-01T00:00:00+00:00",
}


class FakeEngine:
    """`questions` are those asked so far; a test may change `answers`, or set `error` to have all refused."""

    def __init__(self) -> None:
        self.questions: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Any] = {
            "state": STATE,
            "has_checkpoint": True,
            "history": [STATE],
            "update": {"state": STATE, "checkpoint": CHECKPOINT},
            "seed": STATE,
            "copy": None,
            "keep_latest": None,
            "storage": STORAGE,
            "graph": DRAWING,
            "schemas": SCHEMAS,
            "subgraphs": {"child": SCHEMAS},
            "put_item": None,
            "delete_item": None,
            "get_item": ITEM,
            "search_items": {"items": [ITEM | {"score": None}]},
            "list_namespaces": {"namespaces": [["a", "b"]]},
        }
        self.error: Exception | None = None

    async def answer(self, method: str, params: dict[str, Any]) -> bytes:
        self.questions.append((method, params))
        if self.error:
            raise self.error
        return orjson.dumps(self.answers[method])


@contextmanager
def installed(engine: FakeEngine) -> Iterator[FakeEngine]:
    """Let `engine` answer what this process asks, on an event loop in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def install() -> None:
        calls.install(engine.answer)

    asyncio.run_coroutine_threadsafe(install(), loop).result()
    try:
        yield engine
    finally:
        calls.install(None)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
