"""Deleting runs and threads, active ones too: their readers get an `end`, their attempts lose their claim."""

import uuid
from collections.abc import Iterable

from django.db import transaction

from runs.lifecycle.append import announce, finish, lock_threads
from runs.lifecycle.outcome import Outcome
from runs.models import Purge, Run, Thread
from runs.news import tell
from runs.records import Chunk
from runs.signals import cancel_requested, runs_pending, threads_deleted
from runs.states import ACTIVE, RunStatus


def delete_run(run_id: uuid.UUID, thread_id: str) -> None:
    """Delete a run and its events; an active one is interrupted first. Raises Run.DoesNotExist."""
    with transaction.atomic():
        lock_threads([thread_id])
        run = Run.objects.get(run_id=run_id)
        _end([run])
        run.delete()
        tell(runs_pending)


def delete_thread(thread_id: str) -> None:
    """Delete a thread with its runs and events; its checkpoints follow (see Purge). Raises Thread.DoesNotExist."""
    with transaction.atomic():
        lock_threads([thread_id])
        thread = Thread.objects.only("thread_id").get(pk=thread_id)
        _end(Run.objects.filter(thread=thread).active())
        thread.delete()
        Purge.objects.create(thread_id=thread_id)
        tell(threads_deleted)


def _end(runs: Iterable[Run]) -> None:
    """Interrupt the active ones of these runs, and tell their readers and hosts after the commit."""
    chunks: list[Chunk] = [
        finish(run.run_id, run.thread_id, Outcome(RunStatus.INTERRUPTED)) for run in runs if run.status in ACTIVE
    ]
    if chunks:
        transaction.on_commit(lambda: announce(chunks))
        tell(cancel_requested)
