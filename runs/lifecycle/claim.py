"""Taking pending runs, and keeping them."""

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from runs.lifecycle.append import announce, insert_chunks, lock_threads, number
from runs.models import Run
from runs.records import record
from runs.states import RunStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One claimed run, with all that an engine must know to execute it."""

    run_id: uuid.UUID
    claim: uuid.UUID
    attempt: int
    crashes: int
    position: int
    thread_id: str
    graph_id: str
    owner_id: uuid.UUID | None
    #: What was asked for, as in the run's row.
    kwargs: dict[str, Any]


def claimable() -> QuerySet[Run]:
    """Pending runs that are due and whose turn it is, oldest first."""
    before = Run.objects.filter(thread=OuterRef("thread")).filter(
        Q(status=RunStatus.RUNNING) | Q(status=RunStatus.PENDING, position__lt=OuterRef("position"))
    )
    due = Q(not_before=None) | Q(not_before__lte=Now())
    return Run.objects.filter(due, ~Exists(before), status=RunStatus.PENDING).order_by("created_at")


def claim(host: str, limit: int) -> list[Attempt]:
    """Claim up to `limit` runs for `host`, each with a lease of LEASE_SECONDS; `metadata` is the attempt's first event.

    Claims of one call share their token: a write is fenced by the pair of run and claim.
    """
    with transaction.atomic():
        waiting = set(claimable().values_list("thread_id", flat=True)[:limit])
        threads = lock_threads(waiting, skip_locked=True)
        if not threads:
            return []
        token = uuid.uuid4()
        now = timezone.now()
        claimable().filter(thread_id__in=threads).order_by().update(
            status=RunStatus.RUNNING,
            claim=token,
            attempt=F("attempt") + 1,
            lease_until=_lease_end(),
            host=host,
            started_at=now,
            updated_at=now,
        )
        attempts = _attempts(token)
        chunks = [
            number(
                attempt.thread_id,
                attempt.run_id,
                [record("metadata", {"run_id": str(attempt.run_id), "attempt": attempt.attempt})],
            )
            for attempt in attempts
        ]
        insert_chunks(chunks)
    announce(chunks)
    return attempts


def _lease_end() -> Any:
    return Now() + timedelta(seconds=settings.LEASE_SECONDS)


def _attempts(token: uuid.UUID) -> list[Attempt]:
    rows = Run.objects.filter(claim=token).values(
        "run_id",
        "claim",
        "attempt",
        "crashes",
        "position",
        "thread_id",
        "graph_id",
        "owner_id",
        "kwargs",
    )
    return [Attempt(**row) for row in rows]


def heartbeat(claims: Collection[tuple[uuid.UUID, uuid.UUID]]) -> dict[tuple[uuid.UUID, uuid.UUID], str]:
    """Renew the leases of these (run, claim) pairs in one statement.

    Answers those that are still held, each with its cancel action (empty: none). A pair that is missing was taken
    away: its attempt must stop.
    """
    if not claims:
        return {}
    held = set(claims)
    mine = Run.objects.filter(
        run_id__in=[run_id for run_id, _ in held], claim__in={token for _, token in held}, status=RunStatus.RUNNING
    )
    mine.update(lease_until=_lease_end())
    rows = mine.values_list("run_id", "claim", "cancel_action")
    return {(run_id, token): action for run_id, token, action in rows if (run_id, token) in held}
