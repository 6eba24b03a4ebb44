"""Cancelling: a row first, then a wake-up."""

import uuid
from enum import Enum

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from runs.lifecycle.append import announce, finish, insert_chunks, lock_threads
from runs.lifecycle.outcome import ROLLED_BACK, Outcome
from runs.models import Run
from runs.news import tell
from runs.signals import cancel_requested, runs_pending
from runs.states import TERMINAL, CancelAction, RunStatus


class CancelResult(Enum):
    #: A pending run: it has ended already.
    SETTLED = "settled"
    #: A running run: its host will end it.
    REQUESTED = "requested"
    #: It was cancelled before.
    ALREADY = "already"
    #: It ended otherwise.
    FINISHED = "finished"


def request_cancel(run_id: uuid.UUID, thread_id: str, action: CancelAction) -> CancelResult:
    """Ask a run to stop; the first action asked for wins. Raises Run.DoesNotExist."""
    with transaction.atomic():
        lock_threads([thread_id])
        return cancel_in_transaction(Run.objects.get(run_id=run_id), action)


def cancel_in_transaction(run: Run, action: CancelAction) -> CancelResult:
    """`request_cancel` for a run that was read after its thread was locked."""
    if run.status in TERMINAL:
        was_cancelled = run.status == RunStatus.INTERRUPTED or run.cancel_action == CancelAction.ROLLBACK
        return CancelResult.ALREADY if was_cancelled else CancelResult.FINISHED
    if run.status == RunStatus.PENDING and not _has_traces(run, action):
        _finish_pending(run, action)
        return CancelResult.SETTLED
    if not run.cancel_action:
        Run.objects.filter(run_id=run.run_id, cancel_action="").update(
            cancel_action=action, cancel_requested_at=Now(), updated_at=timezone.now()
        )
    tell(cancel_requested if run.status == RunStatus.RUNNING else runs_pending)
    return CancelResult.REQUESTED


def _has_traces(run: Run, action: CancelAction) -> bool:
    """Whether an earlier attempt has left what is to be rolled back: by the next one, which does nothing else."""
    return bool(run.attempt) and CancelAction.ROLLBACK in (run.cancel_action, action)


def _finish_pending(run: Run, action: CancelAction) -> None:
    Run.objects.filter(run_id=run.run_id).update(cancel_action=action, cancel_requested_at=Now())
    outcome = ROLLED_BACK if action is CancelAction.ROLLBACK else Outcome(RunStatus.INTERRUPTED)
    chunk = finish(run.run_id, run.thread_id, outcome)
    insert_chunks([chunk])
    transaction.on_commit(lambda: announce([chunk]))
    tell(runs_pending)
