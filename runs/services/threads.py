"""Threads: made, found, changed, deleted."""

from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.tenancy import Tenant
from runs import lifecycle
from runs.exceptions import Conflict, NotFound
from runs.identifiers import is_thread_id, new_id
from runs.models import Purge, Thread
from runs.protocol.requests import ThreadCreate, ThreadPatch, ThreadSearch
from runs.services.filters import with_metadata

NOT_FOUND = "Thread not found."


def get_thread(tenant: Tenant, thread_id: str) -> Thread:
    """Raises NotFound."""
    found = Thread.objects.for_tenant(tenant).filter(pk=thread_id).first() if is_thread_id(thread_id) else None
    if found is None:
        raise NotFound(NOT_FOUND)
    return found


def locked_thread(tenant: Tenant, thread_id: str) -> Thread:
    """The thread, held until the transaction ends; without its values. Raises NotFound."""
    if not is_thread_id(thread_id):
        raise NotFound(NOT_FOUND)
    lifecycle.lock_threads([thread_id])
    found = Thread.objects.for_tenant(tenant).defer("values").filter(pk=thread_id).first()
    if found is None:
        raise NotFound(NOT_FOUND)
    return found


def create_thread(tenant: Tenant, body: ThreadCreate) -> Thread:
    """Raises Conflict when the id is taken, whoever has it."""
    thread_id = body.thread_id or str(new_id())
    try:
        with transaction.atomic():
            return insert_thread(tenant, thread_id, metadata=body.metadata or {})
    except IntegrityError:
        if body.if_exists == "do_nothing":
            existing = Thread.objects.for_tenant(tenant).filter(pk=thread_id).first()
            if existing:
                return existing
        raise Conflict(f"Thread with ID {thread_id} already exists") from None


def insert_thread(tenant: Tenant, thread_id: str, **fields: Any) -> Thread:
    """A new row, in the caller's transaction. Raises IntegrityError, and Conflict while an old one is cleared away."""
    if Purge.objects.filter(pk=thread_id).exists():
        raise Conflict("A thread with this ID is being deleted; try again.")
    now = timezone.now()
    return Thread.objects.create(
        thread_id=thread_id,
        organization_id=tenant.organization_id,
        owner_id=tenant.user_id,
        updated_at=now,
        state_updated_at=now,
        **fields,
    )


def patch_thread(tenant: Tenant, thread_id: str, body: ThreadPatch) -> Thread:
    """Merge metadata key by key. Raises NotFound."""
    with transaction.atomic():
        thread = locked_thread(tenant, thread_id)
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
