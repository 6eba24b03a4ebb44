"""The shape of a run, for those who ask for it and those who are told of its end."""

from typing import Any

from runs.models import Run


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
        "created_at": run.created_at.isoformat(),
        "updated_at": run.updated_at.isoformat(),
    }
