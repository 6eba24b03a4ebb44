"""How the record `end` of a run reads in the words of the Agent Streaming Protocol."""

from collections.abc import Mapping
from typing import Any

from runs.states import RunStatus

CANCELLED = "The run was cancelled."


def told_end(end: Mapping[str, Any]) -> tuple[str, str | None]:
    """`completed`, `interrupted` or `failed`, and for the last one why, if that is known."""
    status = end["status"]
    if end.get("cancelled") or status == RunStatus.INTERRUPTED:
        return ("interrupted", None) if end.get("superseded") else ("failed", CANCELLED)
    if status == RunStatus.SUCCESS:
        return ("interrupted" if end.get("waits") else "completed"), None
    return "failed", end.get("error")
