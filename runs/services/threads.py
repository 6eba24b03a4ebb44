"""Threads: made, found, changed, deleted."""

import uuid
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from accounts.prepared import Prepared
from accounts.tenancy import Tenant
from runs import lifecycle
from runs.exceptions import Conflict, NotFound
from runs.identifiers import is_thread_id, new_id
from runs.lifecycle import BeingDeleted, Place
from runs.models import Run, Thread
from runs.protocol.requests.threads import ThreadCreate, ThreadPatch, ThreadSearch
from runs.services.filters import with_metadata

NOT_FOUND = "Thread not found."

# Every run on a thread asks this.
_place = Prepared(
    lambda organization_id, user_id, thread_id: (
        Thread.objects.for_tenant(Tenant(organization_id, user_id, frozenset()))
        .filter(pk=thread_id)
        .values_list(
            *("last_seq", "last_position", "metadata", "settled_status"),
            Exists(Run.objects.filter(thread=OuterRef("pk")).active()),
        )
    ),
    organization_id=uuid.UUID(int=1),
    user_id=uuid.UUID(int=2),
    thread_id="example",
)


def get_thread(tenant: Tenant, thread_id: str) -> Thread:
    """Raises NotFound."""
    found = Thread.objects.for_tenant(tenant).filter(pk=thread_id).first() if is_thread_id(thread_id) else None
    if found is None:
        raise NotFound(NOT_FOUND)
    return found


def hold_thread(tenant: Tenant, thread_id: str) -> Place:
    """Hold the thread until the transaction ends. Raises NotFound."""
    if not is_thread_id(thread_id):
        raise NotFound(NOT_FOUND)
    lifecycle.lock_threads([thread_id])
    row = _place.first(organization_id=tenant.organization_id, user_id=tenant.user_id, thread_id=thread_id)
    if row is None:
        raise NotFound(NOT_FOUND)
    last_seq, last_position, metadata, settled_status, busy = row
    return Place(
        thread_id=thread_id,
        last_seq=last_seq,
        last_position=last_position,
        metadata=metadata,
        settled_status=settled_status,
        busy=busy,
    )


def create_thread(tenant: Tenant, body: ThreadCreate) -> Thread:
    """Raises Conflict when the id is taken, whoever has it."""
    thread_id = body.thread_id or str(new_id())
    try:
        with transaction.atomic():
            return _insert(tenant, thread_id, metadata=body.metadata or {}, fresh=body.thread_id is None)
    except IntegrityError:
        if body.if_exists == "do_nothing":
            existing = Thread.objects.for_tenant(tenant).filter(pk=thread_id).first()
            if existing:
                return existing
        raise Conflict(f"Thread with ID {thread_id} already exists") from None


def new_place(tenant: Tenant, thread_id: str) -> Place:
    """A new thread for a run, in the caller's transaction. Raises IntegrityError, and Conflict as `_insert`."""
    _insert(tenant, thread_id, metadata={})
    return Place(thread_id=thread_id)


def _insert(tenant: Tenant, thread_id: str, **fields: Any) -> Thread:
    try:
        return lifecycle.add_thread(
            thread_id, organization_id=tenant.organization_id, owner_id=tenant.user_id, **fields
        )
    except BeingDeleted as exc:
        raise Conflict(str(exc)) from exc


def patch_thread(tenant: Tenant, thread_id: str, body: ThreadPatch) -> Thread:
    """Merge metadata key by key. Raises NotFound."""
    with transaction.atomic():
        hold_thread(tenant, thread_id)
        thread = get_thread(tenant, thread_id)
        if body.metadata:
            thread.metadata = {**thread.metadata, **body.metadata}
            thread.updated_at = timezone.now()
            thread.save(update_fields=["metadata", "updated_at"])
    return thread


def delete_thread(tenant: Tenant, thread_id: str) -> None:
    """Raises NotFound."""
    get_thread(tenant, thread_id)
    try:
        lifecycle.delete_thread(thread_id)
    except Thread.DoesNotExist:
        raise NotFound(NOT_FOUND) from None


def search_threads(tenant: Tenant, query: ThreadSearch) -> list[Thread]:
    """One more than asked for when there are more."""
    found = Thread.objects.for_tenant(tenant).filter(temporary=False)
    if query.ids is not None:
        found = found.filter(pk__in=query.ids)
    if query.status:
        found = found.filter(status=query.status)
    found = with_metadata(found, query.metadata)
    order = query.sort_by or "updated_at"
    found = found.order_by(order if query.sort_order == "asc" else f"-{order}", "pk")
    return list(found[query.offset : query.offset + query.limit + 1])
