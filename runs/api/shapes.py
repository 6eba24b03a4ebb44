"""Rows as the LangGraph API shows them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from runs.models import Assistant, AssistantVersion, Cron, Thread
from runs.shapes import run_fields

__all__ = ["assistant_fields", "cron_fields", "run_fields", "selected", "thread_fields", "version_fields"]


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


def thread_fields(thread: Thread) -> dict[str, Any]:
    return {
        "thread_id": thread.thread_id,
        "created_at": _time(thread.created_at),
        "updated_at": _time(thread.updated_at),
        "state_updated_at": _time(thread.state_updated_at),
        "metadata": thread.metadata,
        "status": thread.status,
        "config": thread.config,
        "values": thread.values,
        "interrupts": thread.interrupts,
        "error": thread.error,
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
