"""Runs: read, cancelled, deleted."""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from accounts.tenancy import Tenant
from runs import lifecycle
from runs.exceptions import Conflict, NotFound
from runs.identifiers import is_thread_id, is_uuid
from runs.lifecycle import CancelResult
from runs.models import Run
from runs.protocol.requests.runs import CancelMany
from runs.services.threads import get_thread
from runs.states import CancelAction, RunStatus

NOT_FOUND = "Run not found."


def get_run(tenant: Tenant, thread_id: str | None, run_id: str) -> Run:
    """A run, which must be of that thread if one is given. Raises NotFound."""
    if not is_uuid(run_id) or not (thread_id is None or is_thread_id(thread_id)):
        raise NotFound(NOT_FOUND)
    found = Run.objects.for_tenant(tenant).filter(run_id=run_id)
    if thread_id is not None:
        found = found.filter(thread_id=thread_id)
    run = found.first()
    if run is None:
        raise NotFound(NOT_FOUND)
    return run


def current_run(tenant: Tenant, thread_id: str) -> Run | None:
    """The run that a thread is about, its request deferred: the one that runs, else the next one, else the last."""
    runs = Run.objects.for_tenant(tenant).filter(thread_id=thread_id)
    runs = runs.only("run_id", "graph_id", "status", "position", "after_seq")
    # `running` comes after `pending`.
    return runs.active().order_by("-status", "position").first() or runs.order_by("-position").first()


def list_runs(tenant: Tenant, thread_id: str, *, limit: int, offset: int, status: RunStatus | None) -> list[Run]:
    """Newest first. Raises NotFound for the thread."""
    thread = get_thread(tenant, thread_id)
    runs = Run.objects.for_tenant(tenant).filter(thread=thread).order_by("-position")
    if status:
        runs = runs.filter(status=status)
    return list(runs[offset : offset + limit])


def cancel_run(tenant: Tenant, run: Run, action: CancelAction) -> CancelResult:
    """Raises Conflict when the run ended otherwise, NotFound when it was deleted meanwhile."""
    try:
        result = lifecycle.request_cancel(run.run_id, run.thread_id, action)
    except Run.DoesNotExist:
        raise NotFound(NOT_FOUND) from None
    if result is CancelResult.FINISHED:
        run.refresh_from_db(fields=["status"])
        raise Conflict(f"Run {run.run_id} is not cancellable (status: {run.status})")
    return result


def cancel_runs(tenant: Tenant, body: CancelMany, action: CancelAction) -> None:
    """Cancel those of these runs that are active.

    Raises NotFound unless all that are named can be seen, or when a status matches none; nothing is cancelled then. By
    status only the caller's own are meant.
    """
    if body.run_ids is not None:
        runs = _named_runs(tenant, body.run_ids, body.thread_id)
    else:
        runs = list(_own_active_runs(tenant, body))
        if not runs:
            raise NotFound("No runs found to cancel.")
    for run in runs:
        try:
            lifecycle.request_cancel(run.run_id, run.thread_id, action)
        except Run.DoesNotExist:
            continue


def _named_runs(tenant: Tenant, run_ids: Sequence[str], thread_id: str | None) -> list[Run]:
    wanted = set(run_ids)
    found = Run.objects.for_tenant(tenant).filter(run_id__in=[run_id for run_id in wanted if is_uuid(run_id)])
    if thread_id is not None:
        found = found.filter(thread_id=thread_id)
    runs = list(found.only("run_id", "thread_id"))
    if len(runs) < len(wanted):
        raise NotFound(NOT_FOUND)
    return runs


def _own_active_runs(tenant: Tenant, body: CancelMany) -> Iterator[Run]:
    found = Run.objects.for_tenant(tenant).active().filter(owner_id=tenant.user_id)
    if body.status != "all":
        found = found.filter(status=body.status)
    if body.thread_id is not None:
        found = found.filter(thread_id=body.thread_id)
    return found.order_by("-position").only("run_id", "thread_id").iterator()


def delete_run(tenant: Tenant, thread_id: str | None, run_id: str) -> None:
    """Raises NotFound."""
    run = get_run(tenant, thread_id, run_id)
    try:
        lifecycle.delete_run(run.run_id, run.thread_id)
    except Run.DoesNotExist:
        raise NotFound(NOT_FOUND) from None


@dataclass(frozen=True, slots=True)
class Settled:
    """What a run left: for callers that waited for it."""

    status: RunStatus
    error: dict[str, str] | None
    values: Any


def settled(run_id: uuid.UUID) -> Settled | None:
    """How a run ended, with its thread's values; None while it has not, or when it was deleted."""
    run = Run.objects.select_related("thread").filter(run_id=run_id).first()
    if run is None:
        return None
    return Settled(RunStatus(run.status), run.error, run.thread.values)
