"""What records of runs by the Agent Streaming Protocol say in the words of LangGraph's stream modes, as JSON."""

from collections.abc import Sequence
from typing import Any

import orjson


def attempt(metadata: bytes) -> bytes:
    """The beginning of an attempt at a run, which names no graph here."""
    if b'"graph_id"' not in metadata:
        return metadata
    told = orjson.loads(metadata)
    return orjson.dumps({key: told[key] for key in ("run_id", "thread_id", "attempt")})


def checkpoint(thread_id: str, namespace: Sequence[str], data: bytes) -> bytes:
    told = orjson.loads(data)
    place = {"thread_id": thread_id, "checkpoint_ns": "|".join(namespace)}
    parent = told.get("parent_id")
    return orjson.dumps(
        {
            "config": _config(place, told["id"]),
            "parent_config": _config(place, parent) if parent else None,
            "metadata": {"source": told.get("source"), "step": told.get("step")},
        }
    )


def _config(place: dict[str, str], checkpoint_id: str) -> dict[str, Any]:
    return {"configurable": {**place, "checkpoint_id": checkpoint_id}}
