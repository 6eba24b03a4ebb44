"""The shape of a run, for those who ask for it and those who are told of its end."""

from typing import Any

from runs.models import Run

_COUNTERS = (
    *("message_count", "llm_call_count", "total_input_tokens", "total_output_tokens", "total_tokens"),
    *("lead_agent_tokens", "subagent_tokens", "middleware_tokens"),
)
#: Null while there is nothing to say.
_TEXTS = ("model_name", "first_human_message", "last_ai_message")


def run_fields(run: Run) -> dict[str, Any]:
    return {
        "run_id": str(run.run_id),
        "thread_id": run.thread_id,
        "assistant_id": str(run.assistant_id) if run.assistant_id else None,
        "metadata": run.metadata,
        "status": run.status,
        "kwargs": run.kwargs,
        "multitask_strategy": run.multitask_strategy,
        "follow_up_to_run_id": str(run.follow_up_to_run_id) if run.follow_up_to_run_id else None,
        "error": run.error,
        **{name: getattr(run, name) for name in _COUNTERS},
        **{name: getattr(run, name) or None for name in _TEXTS},
        "started_at": run.started_at.isoformat() if run.started_at else None,
        "ended_at": run.ended_at.isoformat() if run.ended_at else None,
        "created_at": run.created_at.isoformat(),
        "updated_at": run.updated_at.isoformat(),
    }
