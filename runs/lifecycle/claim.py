"""Taking pending runs, and keeping them."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from accounts.prepared import Prepared
from runs.lifecycle.adapted import adapted_id, adapted_time
from runs.lifecycle.append import announce, insert_chunks, lock_threads, number
from runs.lifecycle.messages import recounted
from runs.models import Run
from runs.records import Record, record
from runs.states import CancelAction, RunStatus
from runs.tally import COLUMNS, Tally


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
    organization_id: uuid.UUID
    owner_id: uuid.UUID | None
    #: What was asked for, as in the run's row.
    kwargs: dict[str, Any]
    #: How it was cancelled before it was claimed: nothing is left to do but that.
    cancel_action: str = ""
    #: What earlier attempts have counted.
    tally: Tally | None = None


#: How many runs one call claims at most.
CLAIM_BATCH = 50


def _claimable(graphs: frozenset[str] | None) -> QuerySet[Run]:
    """Pending runs of these graphs that are due and whose turn it is, oldest first."""
    active = Run.objects.filter(thread=OuterRef("thread")).active()
    before = active.filter(Q(status=RunStatus.RUNNING) | Q(position__lt=OuterRef("position")))
    due = Q(not_before=None) | Q(not_before__lte=Now())
    pending = Run.objects.filter(due, ~Exists(before), status=RunStatus.PENDING).order_by("created_at")
    if graphs is None:
        return pending
    # To undo what a run did takes no graph.
    undone = Q(cancel_action=CancelAction.ROLLBACK, attempt__gt=0)
    return pending.filter(Q(graph_id__in=sorted(graphs)) | undone)


_COLUMNS = (
    *("run_id", "thread_id", "graph_id", "organization_id", "owner_id", "kwargs"),
    *("attempt", "crashes", "position", "cancel_action"),
)


@cache  # A host asks for the same graphs all its life.
def _looks(graphs: frozenset[str] | None) -> tuple[Prepared, Prepared]:
    """For the threads of claimable runs, and for all that is to be known of these."""
    return (
        Prepared(lambda: _claimable(graphs).values_list("thread_id")[:CLAIM_BATCH]),
        Prepared(lambda: _claimable(graphs).values_list(*_COLUMNS)[:CLAIM_BATCH]),
    )


# Written out by hand, like the others that every run passes.
_CLAIM = """
UPDATE runs_run SET status = 'running', claim = %s, attempt = attempt + 1, lease_until = {lease_end}, host = %s,
    started_at = %s, updated_at = %s
WHERE status = 'pending' AND run_id IN ({places}) RETURNING run_id
"""


def claim(host: str, limit: int, graphs: Collection[str] | None = None) -> list[Attempt]:
    """Claim up to `limit` runs for `host`, each with a lease of LEASE_SECONDS; `metadata` is the attempt's first event.

    Only runs of these graphs, if some are given: another host may have the others. Claims of one call share their
    token: a write is fenced by the pair of run and claim.
    """
    if graphs is not None and not graphs:
        return []
    look_for_threads, look = _looks(None if graphs is None else frozenset(graphs))
    threads = [thread_id for (thread_id,) in look_for_threads.rows()[:limit]]
    if not threads:
        # Most looks find nothing, and need not queue with those who write.
        return []
    with transaction.atomic():
        # Another host may have been here since: what counts is what is found when the threads are held.
        held = lock_threads(threads, skip_locked=True)
        rows = [row for row in look.rows() if row[1] in held] if held else []
        if not rows:
            return []
        token = uuid.uuid4()
        attempts = [
            Attempt(
                run_id=run_id,
                claim=token,
                attempt=attempt + 1,
                crashes=crashes,
                position=position,
                thread_id=thread_id,
                graph_id=graph_id,
                organization_id=organization_id,
                owner_id=owner_id,
                kwargs=kwargs,
                cancel_action=cancel_action,
            )
            for run_id, thread_id, graph_id, organization_id, owner_id, kwargs, *counts in rows
            for attempt, crashes, position, cancel_action in [counts]
        ]
        attempts = _with_tallies(attempts)
        _mark(attempts, token, host)
        chunks = number([(attempt.thread_id, attempt.run_id, [_first_record(attempt)]) for attempt in attempts])
        insert_chunks(chunks)
    announce(chunks)
    return attempts


def _with_tallies(attempts: list[Attempt]) -> list[Attempt]:
    """Later attempts count on; a first one, as almost all are, has nothing to be asked for."""
    later = [attempt.run_id for attempt in attempts if attempt.attempt > 1]
    if not later:
        return attempts
    rows = Run.objects.filter(run_id__in=later).values("run_id", *COLUMNS)
    tallies = {row.pop("run_id"): Tally(**row) for row in rows}
    tallies |= {run_id: tally for run_id in later if (tally := recounted(run_id))}
    return [replace(attempt, tally=tallies.get(attempt.run_id)) for attempt in attempts]


def _mark(attempts: Sequence[Attempt], token: uuid.UUID, host: str) -> None:
    now = adapted_time(timezone.now())
    ids = [adapted_id(attempt.run_id) for attempt in attempts]
    statement = _CLAIM.format(lease_end=_lease_end_sql(), places=", ".join(["%s"] * len(ids)))
    with connection.cursor() as cursor:
        cursor.execute(statement, [adapted_id(token), host, now, now, *ids])
        claimed = len(cursor.fetchall())
    if claimed != len(ids):
        raise RuntimeError(f"{len(ids) - claimed} runs were pending and could not be claimed")


def _first_record(attempt: Attempt) -> Record:
    data = {
        "run_id": str(attempt.run_id),
        "thread_id": attempt.thread_id,
        "attempt": attempt.attempt,
        "graph_id": attempt.graph_id,
    }
    return record("metadata", data)


def _lease_end_sql() -> str:
    """The end of a lease that begins now, by the database's clock."""
    if connection.vendor == "sqlite":
        return f"STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW', '+{settings.LEASE_SECONDS} seconds')"
    return f"STATEMENT_TIMESTAMP() + INTERVAL '{settings.LEASE_SECONDS} seconds'"


def heartbeat(claims: Collection[tuple[uuid.UUID, uuid.UUID]]) -> dict[tuple[uuid.UUID, uuid.UUID], str]:
    """Renew the leases of these (run, claim) pairs in one transaction.

    Answers those that are still held, each with its cancel action (empty: none). A pair that is missing was taken
    away: its attempt must stop.
    """
    if not claims:
        return {}
    held = set(claims)
    mine = Run.objects.filter(
        run_id__in=[run_id for run_id, _ in held], claim__in={token for _, token in held}, status=RunStatus.RUNNING
    )
    with transaction.atomic():
        if connection.features.has_select_for_update:
            # In the order in which checkpoints hold them, so that nobody waits in a ring.
            list(mine.order_by("run_id").select_for_update(no_key=True).values_list("run_id"))
        mine.update(lease_until=Now() + timedelta(seconds=settings.LEASE_SECONDS))
        rows = list(mine.values_list("run_id", "claim", "cancel_action"))
    return {(run_id, token): action for run_id, token, action in rows if token and (run_id, token) in held}
