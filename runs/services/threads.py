"""Threads: made, got, changed, deleted; `thread_search` finds them."""

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
from runs.models import Graph, Run, Thread
from runs.protocol.requests.threads import PINNED, Lifetime, ThreadCreate, ThreadPatch

NOT_FOUND = "Thread not found."

_LIFETIME = ("ttl_minutes", "ttl_strategy", "expires_at")

# Every run on a thread asks this.
_place = Prepared(
    lambda organization_id, user_id, thread_id: (
        Thread.objects.for_tenant(Tenant(organization_id, user_id, frozenset()))
        .filter(pk=thread_id)
        .values_list(
            *("last_seq", "last_position", "metadata", "settled_status", "temporary"),
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
    if not lifecycle.lock_threads([thread_id]):
        # It may be there by now, but nobody holds it.
        raise NotFound(NOT_FOUND)
    row = _place.first(organization_id=tenant.organization_id, user_id=tenant.user_id, thread_id=thread_id)
    if row is None:
        raise NotFound(NOT_FOUND)
    last_seq, last_position, metadata, settled_status, temporary, busy = row
    return Place(
        thread_id=thread_id,
        last_seq=last_seq,
        last_position=last_position,
        metadata=metadata,
        settled_status=settled_status,
        temporary=temporary,
        busy=busy,
    )


def create_thread(tenant: Tenant, body: ThreadCreate, *, idempotent: bool = False) -> Thread:
    """A new thread, or the one that has its id where the client allows that; `idempotent`: unless it forbids that.

    Raises Conflict when the id is taken, whoever has it.
    """
    thread_id = body.thread_id or str(new_id())
    about = body.about
    fields = {"metadata": about, "graph_id": named_graph(about), "fresh": body.thread_id is None}
    try:
        with transaction.atomic():
            thread = _insert(tenant, thread_id, **fields)
            _set_options(thread, body.lifetime)
            return thread
    except IntegrityError:
        return existing_thread(tenant, thread_id, body, idempotent=idempotent)


def existing_thread(tenant: Tenant, thread_id: str, body: ThreadCreate, *, idempotent: bool) -> Thread:
    """The thread that has the id which a new one was to have. Raises Conflict."""
    if body.if_exists == "do_nothing" or (idempotent and body.if_exists is None):
        # One that is temporary is not whole yet, or goes with its run.
        existing = Thread.objects.for_tenant(tenant).filter(pk=thread_id, temporary=False).first()
        if existing:
            return existing
    raise Conflict(f"Thread with ID {thread_id} already exists")


def named_graph(metadata: dict[str, Any]) -> str:
    """The graph that the maker of a thread says it is for; empty when there is none of that name."""
    graph_id = metadata.get("graph_id")
    if not isinstance(graph_id, str) or not Graph.objects.filter(graph_id=graph_id).exists():
        return ""
    return graph_id


def _set_options(thread: Thread, lifetime: Lifetime | None) -> None:
    """What most new threads do not have, in the caller's transaction."""
    if PINNED in thread.metadata or lifetime:
        thread.pinned = thread.metadata.get(PINNED) is True
        set_lifetime(thread, lifetime)
        thread.save(update_fields=["pinned", *_LIFETIME])


def set_lifetime(thread: Thread, lifetime: Lifetime | None) -> None:
    """In this copy of the row; none: as it is."""
    if lifetime:
        thread.ttl_minutes, thread.ttl_strategy = lifetime.ttl, lifetime.strategy
        thread.expires_at = thread.ends_at


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
    """Merge metadata key by key, and set the lifetime; to pin a thread does not make it newer. Raises NotFound."""
    with transaction.atomic():
        hold_thread(tenant, thread_id)
        thread = get_thread(tenant, thread_id)
        if not (body.changes or body.lifetime):
            return thread
        thread.metadata = {**thread.metadata, **body.changes}
        thread.pinned = thread.metadata.get(PINNED) is True
        if not body.only_pins:
            thread.updated_at = timezone.now()
        set_lifetime(thread, body.lifetime)
        thread.save(update_fields=["metadata", "pinned", "updated_at", *_LIFETIME])
    return thread


def delete_thread(tenant: Tenant, thread_id: str) -> None:
    """Raises NotFound."""
    get_thread(tenant, thread_id)
    try:
        lifecycle.delete_thread(thread_id)
    except Thread.DoesNotExist:
        raise NotFound(NOT_FOUND) from None
