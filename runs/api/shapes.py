"""Rows as the LangGraph API shows them."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from runs.models import Assistant, AssistantVersion, Cron, Thread
from runs.protocol import paths
from runs.shapes import run_fields

__all__ = [
    "assistant_fields",
    "cron_fields",
    "extracted",
    "lifetime_fields",
    "run_fields",
    "selected",
    "thread_fields",
    "version_fields",
]


def _time(moment: datetime) -> str:
    return moment.isoformat()


def version_fields(version: Assistant | AssistantVersion) -> dict[str, Any]:
    return {
        "assistant_id": str(version.assistant_id),
        "graph_id": version.graph_id,
        "config": version.config,
        "context": version.context,
        "metadata": version.metadata,
        "name": version.name,
        "description": version.description,
        "version": version.version,
        "created_at": _time(version.created_at),
    }


def assistant_fields(assistant: Assistant) -> dict[str, Any]:
    return {**version_fields(assistant), "updated_at": _time(assistant.updated_at)}


_THREAD: dict[str, Callable[[Thread], Any]] = {
    "thread_id": lambda thread: thread.thread_id,
    "created_at": lambda thread: _time(thread.created_at),
    "updated_at": lambda thread: _time(thread.updated_at),
    "state_updated_at": lambda thread: _time(thread.state_updated_at),
    "metadata": lambda thread: thread.metadata,
    "status": lambda thread: thread.status,
    "config": lambda thread: thread.config,
    "values": lambda thread: thread.values,
    "interrupts": lambda thread: thread.interrupts,
    "error": lambda thread: thread.error,
    "title": lambda thread: thread.title,
}


def thread_fields(thread: Thread, select: Sequence[str] | None = None) -> dict[str, Any]:
    """Whole, or only the keys asked for: the others may not have been read."""
    return {key: _THREAD[key](thread) for key in (_THREAD if select is None else select) if key in _THREAD}


def extracted(thread: Thread, wanted: dict[str, str]) -> dict[str, Any]:
    """What lies at these paths, by the names that the caller has for them."""
    return {alias: _at(thread, paths.parse(path)) for alias, path in wanted.items()}


def _at(thread: Thread, path: paths.Path) -> Any:
    root, *steps = path
    return paths.read(_THREAD[str(root)](thread), tuple(steps))


def lifetime_fields(thread: Thread) -> dict[str, Any] | None:
    if thread.ends_at is None:
        return None
    return {
        "strategy": thread.ttl_strategy,
        "ttl_minutes": thread.ttl_minutes,
        "expires_at": _time(thread.ends_at),
    }


def cron_fields(cron: Cron) -> dict[str, Any]:
    return {
        "cron_id": str(cron.cron_id),
        "assistant_id": str(cron.assistant_id),
        "thread_id": cron.thread_id,
        "user_id": str(cron.owner_id) if cron.owner_id else None,
        "schedule": cron.schedule,
        "timezone": cron.timezone or None,
        "end_time": _time(cron.end_time) if cron.end_time else None,
        "next_run_date": _time(cron.next_run_at) if cron.next_run_at else None,
        "enabled": cron.enabled,
        "on_run_completed": cron.on_run_completed or None,
        "payload": cron.request(),
        "metadata": cron.metadata,
        "created_at": _time(cron.created_at),
        "updated_at": _time(cron.updated_at),
    }


def selected(fields: dict[str, Any], select: Sequence[str] | None) -> dict[str, Any]:
    """Only the keys asked for."""
    return fields if select is None else {key: fields[key] for key in select if key in fields}
