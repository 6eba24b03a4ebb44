"""Messages, events and token usage as the API shows them."""

from datetime import UTC, datetime
from typing import Any

from runs.models import Message, Run
from runs.services.messages import Milestone, TokenUsage, event_type_of

_CATEGORIES = {"run.start": "trace", "run.error": "error", "run.end": "outputs"}


def message_fields(message: Message, turn_duration: int | None = None) -> dict[str, Any]:
    """A message as an event; on the last answer of a run that has ended, how many seconds the run took."""
    content = message.content
    if turn_duration is not None:
        content = {
            **content,
            "additional_kwargs": {**content.get("additional_kwargs", {}), "turn_duration": turn_duration},
        }
    return {
        **_event_of(message.run, message.seq),
        "event_type": event_type_of(message.kind),
        "category": "message",
        "content": content,
        "metadata": {**message.metadata, "caller": message.caller},
        "created_at": message.created_at.isoformat(),
    }


def event_fields(event: Milestone) -> dict[str, Any]:
    return {
        **_event_of(event.run, event.seq),
        "event_type": event.event_type,
        "category": _CATEGORIES[event.event_type],
        "content": event.content,
        "metadata": {},
        "created_at": datetime.fromtimestamp(event.timestamp / 1000, UTC).isoformat(),
    }


def _event_of(run: Run, seq: int) -> dict[str, Any]:
    owner = str(run.owner_id) if run.owner_id else None
    return {"thread_id": run.thread_id, "run_id": str(run.run_id), "user_id": owner, "seq": seq, "feedback": None}


def usage_fields(usage: TokenUsage) -> dict[str, Any]:
    names = ("total_tokens", "total_input_tokens", "total_output_tokens")
    return {
        "thread_id": usage.thread_id,
        **{name: usage.sums[name] for name in names},
        "total_runs": usage.runs,
        "by_model": usage.by_model,
        "by_caller": {caller: usage.sums[f"{caller}_tokens"] for caller in ("lead_agent", "subagent", "middleware")},
        "context_usage": None,
    }
