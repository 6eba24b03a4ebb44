"""Runs: created, read, cancelled, deleted."""

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.tenancy import Tenant
from runs import lifecycle
from runs.exceptions import Conflict, Invalid, NotFound
from runs.identifiers import is_thread_id, is_uuid, new_id
from runs.lifecycle import CancelResult, NewRun, Place, ThreadBusy
from runs.models import Assistant, Run
from runs.protocol.requests.runs import RunRequest
from runs.services.assistants import runnable_assistant
from runs.services.threads import NOT_FOUND as THREAD_NOT_FOUND
from runs.services.threads import get_thread, hold_thread, new_place
from runs.states import CancelAction, MultitaskStrategy, RunStatus

NOT_FOUND = "Run not found."


def create_run(tenant: Tenant, thread_id: str, body: RunRequest) -> Run:
    """A run on a thread, which is made when it does not exist and the request allows that.

    Raises NotFound, Invalid, and Conflict when the thread is busy and the strategy is to reject.
    """
    if not is_thread_id(thread_id):
        raise NotFound(THREAD_NOT_FOUND)
    named = body.configurable.get("thread_id")
    if named is not None and named != thread_id:
        raise Invalid(("body", "config", "configurable", "thread_id"), "is not the thread of this address")
    if body.on_completion is not None:
        raise Invalid(("body", "on_completion"), "is an option of stateless runs")
    create = (body.if_not_exists or settings.DEFAULT_IF_NOT_EXISTS) == "create"
    return _create(tenant, thread_id, body, create=create)


def create_stateless_run(tenant: Tenant, body: RunRequest) -> Run:
    """A run on a thread of its own, or on the one that `config.configurable.thread_id` names."""
    named = body.configurable.get("thread_id")
    if named is not None and not is_thread_id(named):
        raise Invalid(
            ("body", "config", "configurable", "thread_id"), "must be a UUID, or 1 to 64 letters, digits, '_' and '-'"
        )
    if named is not None:
        return _create(tenant, named, body)
    delete = (body.on_completion or settings.DEFAULT_ON_COMPLETION) == "delete"
    return _create(tenant, str(new_id()), body, fresh=True, temporary=delete)


def _place(tenant: Tenant, thread_id: str, *, create: bool) -> Place:
    """The thread that a run is asked for on, made if that is allowed. Raises NotFound, also for somebody else's."""
    try:
        return hold_thread(tenant, thread_id)
    except NotFound:
        if not create:
            raise
    try:
        with transaction.atomic():
            return new_place(tenant, thread_id)
    except IntegrityError:
        return hold_thread(tenant, thread_id)


def _create(
    tenant: Tenant,
    thread_id: str,
    body: RunRequest,
    *,
    create: bool = True,
    fresh: bool = False,
    temporary: bool = False,
) -> Run:
    assistant = runnable_assistant(tenant, body.assistant_id)
    run_id = new_id()
    kwargs = _kwargs(tenant, assistant, thread_id, run_id, body, temporary=temporary)
    new = NewRun(
        run_id=run_id,
        organization_id=tenant.organization_id,
        owner_id=tenant.user_id,
        assistant_id=assistant.assistant_id,
        graph_id=assistant.graph_id,
        strategy=body.strategy or MultitaskStrategy(settings.DEFAULT_MULTITASK_STRATEGY),
        kwargs=kwargs,
        metadata=kwargs["config"]["metadata"],
        not_before=timezone.now() + timedelta(seconds=body.after_seconds) if body.after_seconds else None,
    )
    try:
        with transaction.atomic():
            if fresh:
                return lifecycle.add_thread_with_run(thread_id, new, temporary=temporary)
            return lifecycle.add_run(_place(tenant, thread_id, create=create), new)
    except ThreadBusy as exc:
        raise Conflict(str(exc)) from exc


def _kwargs(
    tenant: Tenant, assistant: Assistant, thread_id: str, run_id: uuid.UUID, body: RunRequest, *, temporary: bool
) -> dict[str, Any]:
    """The request with all defaults filled in: what an engine executes, and what readers see as `kwargs`."""
    base: dict[str, Any] = assistant.config
    asked = body.config.model_dump(exclude_none=True) if body.config else {}
    server = {
        "thread_id": thread_id,
        "run_id": str(run_id),
        "graph_id": assistant.graph_id,
        "assistant_id": str(assistant.assistant_id),
    }
    user = {"user_id": str(tenant.user_id), "langgraph_auth_user_id": str(tenant.user_id)}
    configurable = {**base.get("configurable", {}), **asked.get("configurable", {}), **_checkpoint(body, thread_id)}
    metadata = {
        **assistant.metadata,
        **base.get("metadata", {}),
        **asked.get("metadata", {}),
        **(body.metadata or {}),
        **server,
    }
    exits = body.checkpoint_during is False
    return {
        "input": body.input,
        "command": body.command.model_dump(exclude_unset=True) if body.command else None,
        "config": {**base, **asked, "configurable": {**configurable, **server, **user}, "metadata": metadata},
        "context": {**assistant.context, **(body.context or {})},
        "stream_mode": body.stream_modes,
        "interrupt_before": body.interrupt_before,
        "interrupt_after": body.interrupt_after,
        "subgraphs": bool(body.stream_subgraphs),
        "durability": body.durability or ("exit" if exits else "async"),
        "on_disconnect": body.on_disconnect or settings.DEFAULT_ON_DISCONNECT,
        "temporary": temporary,
        "resumable": True,
    }


def _checkpoint(body: RunRequest, thread_id: str) -> dict[str, Any]:
    """Which checkpoint the run starts from, as keys of `configurable`; none: the latest."""
    asked = body.checkpoint
    if asked and asked.thread_id not in (None, thread_id):
        raise Invalid(("body", "checkpoint", "thread_id"), "is not the thread of the run")
    checkpoint_id = body.checkpoint_id or (asked and asked.checkpoint_id)
    if not checkpoint_id:
        return {}
    return {"checkpoint_id": checkpoint_id, "checkpoint_ns": (asked and asked.checkpoint_ns) or ""}


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


def delete_run(tenant: Tenant, thread_id: str, run_id: str) -> None:
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
