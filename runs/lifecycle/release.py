"""Taking runs away from hosts that lost them: back to `pending` for the next attempt, or to their end."""

import uuid
from collections.abc import Collection

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from runs.lifecycle.append import Outcome, announce, finish, insert_chunks, lock_threads
from runs.models import Run
from runs.records import Chunk
from runs.signals import runs_pending
from runs.states import RunStatus
from runs.wire import tell

_LOST = {"error": "worker_lost", "message": "The process that ran this run was lost repeatedly."}

_JUST_STARTED = "SELECT NOW() - pg_postmaster_start_time() < make_interval(secs => %s)"


def reap() -> int:
    """Release every run whose lease has ended, by the database's clock. Answers how many.

    A lease could not be renewed while the database was away: for as long as one lasts after its start, none counts.
    """
    if just_started():
        return 0
    expired = Run.objects.filter(status=RunStatus.RUNNING).exclude(lease_until__gte=Now())
    return release(list(expired.values_list("run_id", "claim")), crashed=True, wait=False)


def just_started() -> bool:
    if connection.vendor != "postgresql":
        return False
    with connection.cursor() as cursor:
        cursor.execute(_JUST_STARTED, [settings.LEASE_SECONDS])
        return bool(cursor.fetchone()[0])


def release(claims: Collection[tuple[uuid.UUID, uuid.UUID | None]], *, crashed: bool, wait: bool = True) -> int:
    """Give up these (run, claim) pairs. Answers how many were still held.

    Without `wait`, those whose thread somebody else holds are left as they are: one that was stopped in the middle of
    a transaction must not keep the others from being taken up.

    A run whose cancellation was accepted ends `interrupted`. A run that crashed MAX_ATTEMPTS times ends `error`
    (`worker_lost`). Any other goes back to `pending` and keeps its turn; a drain (`crashed=False`) is not counted.
    """
    released = 0
    for run_id, token in claims:
        chunk = _release_one(run_id, token, crashed=crashed, wait=wait)
        released += chunk is not None
        if chunk:
            announce([chunk])
    if released:
        tell(runs_pending)
    return released


def _release_one(run_id: uuid.UUID, token: uuid.UUID | None, *, crashed: bool, wait: bool) -> Chunk | None:
    """The events that the release appended (perhaps none), or None when the pair is not held."""
    with transaction.atomic():
        run = Run.objects.filter(run_id=run_id).only("thread_id").first()
        if run is None or not lock_threads([run.thread_id], skip_locked=not wait):
            return None
        held = Run.objects.filter(run_id=run_id, claim=token, status=RunStatus.RUNNING)
        row = held.values_list("cancel_action", "crashes").first()
        if row is None:
            return None
        cancel_action, crashes = row
        if not cancel_action and crashes + crashed < settings.MAX_ATTEMPTS:
            held.update(
                status=RunStatus.PENDING,
                claim=None,
                lease_until=None,
                crashes=F("crashes") + int(crashed),
                updated_at=timezone.now(),
            )
            return Chunk(run.thread_id, str(run_id), 0, 0, b"")
        held.update(crashes=F("crashes") + int(crashed))
        outcome = Outcome(RunStatus.INTERRUPTED) if cancel_action else Outcome(RunStatus.ERROR, error=_LOST)
        chunk = finish(run_id, run.thread_id, outcome)
        insert_chunks([chunk])
    return chunk
