"""Crons: made, found, changed, deleted. `runs.host.crons` starts their runs."""

import uuid
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from accounts.tenancy import Tenant
from runs.exceptions import Conflict, Forbidden, Invalid, NotFound
from runs.identifiers import is_uuid, system_assistant_id
from runs.models import Cron
from runs.models.cron import CronQuerySet
from runs.protocol.requests.crons import CronCount, CronCreate, CronPatch, CronSearch
from runs.protocol.requests.runs import RunRequest
from runs.schedules import next_time
from runs.services.assistants import runnable_assistant
from runs.services.filters import with_metadata
from runs.services.once import Once, create_once
from runs.services.threads import hold_thread
from runs.services.webhooks import check_webhook

NOT_FOUND = "Cron not found."
_CONFIGURABLE = ("body", "config", "configurable")
NOT_THE_OWNER = "Only its owner can change a cron: it runs in their name."


def create_cron(tenant: Tenant, thread_id: str | None, body: CronCreate, once: Once | None = None) -> Cron:
    """A cron whose runs go on this thread, or each on a new one.

    Raises NotFound, Invalid, Conflict when the organization has too many, and as `create_once`.
    """
    try:
        return create_once(tenant, once, Cron.objects.for_tenant(tenant), lambda: [_create(tenant, thread_id, body)])[0]
    except IntegrityError:
        # At the commit, which waits for whoever deletes the assistant.
        runnable_assistant(tenant, body.assistant_id or settings.DEFAULT_ASSISTANT)
        raise


def _create(tenant: Tenant, thread_id: str | None, body: CronCreate) -> Cron:
    now = timezone.now()
    if thread_id is not None:
        hold_thread(tenant, thread_id)
    _check(tenant, thread_id, body, now)
    if body.enabled is not False:
        _demand_room(tenant)
    cron = Cron(
        organization_id=tenant.organization_id,
        owner_id=tenant.user_id,
        assistant=runnable_assistant(tenant, body.assistant_id or settings.DEFAULT_ASSISTANT),
        thread_id=thread_id,
        schedule=body.schedule,
        timezone=body.timezone or "",
        end_time=body.end_time,
        enabled=body.enabled is not False,
        on_run_completed="" if thread_id else body.on_run_completed or "delete",
        payload={name: value for name, value in body.options().items() if value is not None},
        metadata=body.metadata or {},
        updated_at=now,
    )
    cron.next_run_at = _next_run(cron, now)
    cron.save(force_insert=True)
    return cron


def _check(tenant: Tenant, thread_id: str | None, body: CronPatch, now: datetime) -> None:
    """Raises Invalid for what contradicts where its runs go, an address that is not called, an end that has passed."""
    if body.webhook:
        check_webhook(tenant, body.webhook)
    named = body.configurable.get("thread_id")
    if named is not None and named != thread_id:
        reason = "is not the thread of this cron" if thread_id else "can not be given: each run has a new thread"
        raise Invalid((*_CONFIGURABLE, "thread_id"), reason)
    if "checkpoint_id" in body.configurable:
        raise Invalid((*_CONFIGURABLE, "checkpoint_id"), "can not be given: each run goes on from the latest")
    if thread_id is not None and body.on_run_completed is not None:
        raise Invalid(("body", "on_run_completed"), "is an option of crons without a thread")
    if body.end_time is not None and body.end_time <= now:
        raise Invalid(("body", "end_time"), "has passed")


def _demand_room(tenant: Tenant) -> None:
    """Raise Conflict when the organization has as many enabled crons as it may have; some more, if many ask at once."""
    enabled = Cron.objects.filter(organization_id=tenant.organization_id, enabled=True)
    if enabled.count() >= settings.MAX_CRONS_PER_ORGANIZATION:
        raise Conflict(
            f"The organization has {settings.MAX_CRONS_PER_ORGANIZATION} enabled crons; it can have no more."
        )


def _next_run(cron: Cron, now: datetime) -> datetime | None:
    return next_time(cron.schedule, cron.timezone, after=now, until=cron.end_time) if cron.enabled else None


def get_cron(tenant: Tenant, cron_id: str) -> Cron:
    """Raises NotFound."""
    return _first(Cron.objects.for_tenant(tenant), cron_id)


def _first(crons: CronQuerySet, cron_id: str) -> Cron:
    found = crons.filter(cron_id=cron_id).first() if is_uuid(cron_id) else None
    if found is None:
        raise NotFound(NOT_FOUND)
    return found


def patch_cron(tenant: Tenant, cron_id: str, body: CronPatch) -> Cron:
    """Replace what the body names; null takes an option back. Raises NotFound, Forbidden, Invalid and Conflict.

    The next run moves only if what says when it is due was named.
    """
    now = timezone.now()
    with transaction.atomic():
        cron = _first(Cron.objects.for_tenant(tenant).select_for_update(of=("self",)), cron_id)
        if cron.owner_id != tenant.user_id:
            raise Forbidden(NOT_THE_OWNER)
        _check(tenant, cron.thread_id, body, now)
        if body.enabled and not cron.enabled:
            _demand_room(tenant)
        options = {**cron.payload, **body.options()}
        cron.payload = {name: value for name, value in options.items() if value is not None}
        _apply(cron, body)
        # What was said now may not go together with what was said before.
        RunRequest.model_validate(cron.request())
        if body.model_fields_set & {"schedule", "timezone", "end_time", "enabled"}:
            cron.next_run_at = _next_run(cron, now)
        cron.updated_at = now
        cron.save(force_update=True)
    return cron


def _apply(cron: Cron, body: CronPatch) -> None:
    """Set what the body names of the cron itself."""
    said = body.model_fields_set
    if body.schedule is not None:
        cron.schedule = body.schedule
    if body.enabled is not None:
        cron.enabled, cron.error = body.enabled, ""
    if body.on_run_completed is not None:
        cron.on_run_completed = body.on_run_completed
    if "timezone" in said:
        cron.timezone = body.timezone or ""
    if "end_time" in said:
        cron.end_time = body.end_time
    if "metadata" in said:
        cron.metadata = body.metadata or {}


def delete_cron(tenant: Tenant, cron_id: str) -> None:
    """The runs that it has started stay. Raises NotFound."""
    get_cron(tenant, cron_id)
    if not Cron.objects.for_tenant(tenant).filter(cron_id=cron_id).delete()[0]:
        raise NotFound(NOT_FOUND)


#: Columns that have another name on the wire.
_COLUMNS = {"next_run_date": "next_run_at"}


def search_crons(tenant: Tenant, query: CronSearch) -> list[Cron]:
    """One more than asked for when there are more; times that are null come last."""
    asked = query.sort_by or "created_at"
    column = F(_COLUMNS.get(asked, asked))
    order = column.asc(nulls_last=True) if query.sort_order == "asc" else column.desc(nulls_last=True)
    found = _matching(tenant, query).order_by(order, "cron_id")
    return list(found[query.offset : query.offset + query.limit + 1])


def count_crons(tenant: Tenant, query: CronCount) -> int:
    return _matching(tenant, query).count()


def _matching(tenant: Tenant, query: CronCount) -> CronQuerySet:
    wanted: dict[str, Any] = {"thread_id": query.thread_id, "enabled": query.enabled}
    if name := query.assistant_id:
        wanted["assistant_id"] = uuid.UUID(name) if is_uuid(name) else system_assistant_id(name)
    named = {column: value for column, value in wanted.items() if value is not None}
    return with_metadata(Cron.objects.for_tenant(tenant).filter(**named), query.metadata)
