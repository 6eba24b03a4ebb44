"""Taking runs away from hosts that lost them: back to `pending` for the next attempt, or to their end."""

import logging
import uuid
from collections.abc import Collection

from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone

from runs.lifecycle.append import announce, finish, insert_chunks, lock_threads
from runs.lifecycle.outcome import Outcome
from runs.models import Run
from runs.news import tell
from runs.records import Chunk
from runs.signals import runs_pending
from runs.states import CancelAction, RunStatus

logger = logging.getLogger(__name__)

_LOST = {"error": "worker_lost", "message": "The process that ran this run was lost repeatedly."}

_EXPIRED = ~Q(lease_until__gte=Now()) | Q(lease_until=None)
_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '1s'"


def reap() -> int:
    """Release every run whose lease has ended, by the database's clock. Answers how many.

    What somebody else holds is left for the next time: a process that was stopped in the middle of a transaction must
    not keep the other runs from being taken up.
    """
    expired = Run.objects.filter(_EXPIRED, status=RunStatus.RUNNING)
    return release(list(expired.values_list("run_id", "claim")), crashed=True, expired=True)


def release(claims: Collection[tuple[uuid.UUID, uuid.UUID | None]], *, crashed: bool, expired: bool = False) -> int:
    """Give up these (run, claim) pairs. Answers how many were still held.

    `expired`: only those whose lease has ended and that nobody is at.

    A run that was to be interrupted is. One that crashed MAX_ATTEMPTS times ends `error` (`worker_lost`), unless it is
    to be rolled back. Any other goes back to `pending` and keeps its turn; a drain (`crashed=False`) is not counted.
    """
    released = 0
    for run_id, token in claims:
        try:
            chunk = _release_one(run_id, token, crashed=crashed, expired=expired)
        except OperationalError as exc:
            if not expired:
                raise
            logger.warning("run %s is held by somebody who may have been stopped: %s", run_id, exc)
            continue
        released += chunk is not None
        if chunk:
            announce([chunk])
    if released:
        tell(runs_pending)
    return released


def _wait_briefly() -> None:
    """For rows that others hold, in this transaction."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(_LOCK_TIMEOUT)


def _release_one(run_id: uuid.UUID, token: uuid.UUID | None, *, crashed: bool, expired: bool) -> Chunk | None:
    """The events that the release appended (perhaps none), or None when the pair is not held."""
    with transaction.atomic():
        run = Run.objects.filter(run_id=run_id).only("thread_id").first()
        if run is None or not lock_threads([run.thread_id], skip_locked=expired):
            return None
        held = Run.objects.filter(run_id=run_id, claim=token, status=RunStatus.RUNNING)
        if expired:
            held = held.filter(_EXPIRED)
            _wait_briefly()
        # Held from here on: a heartbeat that comes now is too late, or was in time.
        row = held.select_for_update().values_list("cancel_action", "crashes").first()
        if row is None:
            return None
        cancel_action, crashes = row
        goes_on = not cancel_action and crashes + crashed < settings.MAX_ATTEMPTS
        if goes_on or cancel_action == CancelAction.ROLLBACK:
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
