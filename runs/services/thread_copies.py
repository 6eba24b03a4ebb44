"""Threads that begin with a state: the copy of another, or one that is made with supersteps."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import orjson
from django.db import IntegrityError, transaction

from accounts.tenancy import Tenant
from runs import lifecycle
from runs.exceptions import Conflict, Invalid, Refusal, Unavailable
from runs.identifiers import new_id
from runs.lifecycle import BeingDeleted, Place
from runs.models import Thread
from runs.protocol.requests.threads import PINNED, ThreadCreate
from runs.services.questions import ask
from runs.services.threads import existing_thread, get_thread, hold_thread, named_graph, set_lifetime
from runs.states import ThreadStatus


def create_with_supersteps(tenant: Tenant, body: ThreadCreate, *, idempotent: bool) -> Thread:
    """As `threads.create_thread`, with the state that the supersteps lead to. If they fail, there is no thread.

    Raises Invalid also for supersteps that the graph does not take, and Unavailable.
    """
    thread_id, about = body.thread_id or str(new_id()), body.about
    graph_id = named_graph(about)
    if not graph_id:
        raise Invalid(("body", "metadata", "graph_id"), "must name a graph when there are supersteps")
    try:
        thread = _withhold(tenant, thread_id, fresh=body.thread_id is None, metadata=about, graph_id=graph_id)
    except IntegrityError:
        return existing_thread(tenant, thread_id, body, idempotent=idempotent)
    with _or_nothing(thread):
        named = {"graph_id": graph_id, "assistant_id": body.assistant_id}
        supersteps = [[update.model_dump() for update in step.updates] for step in body.supersteps or ()]
        answer = ask(
            "seed", tenant, thread.graph_id, thread_id=thread.pk, position=1, supersteps=supersteps, about=named
        )
        _take_state(thread, orjson.loads(answer))
        set_lifetime(thread, body.lifetime)
        _publish(thread)
    return thread


def copy_thread(tenant: Tenant, thread_id: str) -> Thread:
    """A new thread with all checkpoints of this one, and its metadata; what a run has not written yet is not in it.

    Raises NotFound, Unavailable.
    """
    with transaction.atomic():
        place = hold_thread(tenant, thread_id)
        source = get_thread(tenant, thread_id)
        thread = _withhold(tenant, str(new_id()), fresh=True, metadata=source.metadata, graph_id=source.graph_id)
    thread.title, thread.config = source.title, source.config
    with _or_nothing(thread):
        ask("copy", tenant, thread.graph_id, thread_id=thread.pk, source=thread_id, position=1)
        if _is_settled(tenant, source, place):
            thread.status, thread.error = source.status, source.error
            thread.values, thread.interrupts = source.values, source.interrupts
        elif thread.graph_id:
            answer = ask(
                "state", tenant, thread.graph_id, thread_id=thread.pk, checkpoint={"checkpoint_ns": ""}, subgraphs=False
            )
            _take_state(thread, orjson.loads(answer))
        _publish(thread)
    return thread


def _withhold(tenant: Tenant, thread_id: str, *, fresh: bool, metadata: dict[str, Any], graph_id: str) -> Thread:
    try:
        with transaction.atomic():
            thread = lifecycle.withhold_thread(
                thread_id,
                fresh=fresh,
                organization_id=tenant.organization_id,
                owner_id=tenant.user_id,
                metadata=metadata,
                graph_id=graph_id,
            )
    except BeingDeleted as exc:
        raise Conflict(str(exc)) from exc
    thread.pinned = metadata.get(PINNED) is True
    return thread


@contextmanager
def _or_nothing(thread: Thread) -> Iterator[None]:
    """Leave nothing of the thread when it can not be finished."""
    try:
        yield
    except Refusal:
        with suppress(Thread.DoesNotExist):
            lifecycle.delete_thread(thread.pk)
        raise


def _is_settled(tenant: Tenant, source: Thread, place: Place) -> bool:
    """Whether no run was, nor has been since, at the thread as it was read: its row tells of its last checkpoint."""
    if place.busy:
        return False
    now = Thread.objects.for_tenant(tenant).filter(pk=source.pk)
    return now.filter(last_position=source.last_position, state_updated_at=source.state_updated_at).exists()


def _take_state(thread: Thread, state: dict[str, Any]) -> None:
    thread.values = state["values"] if state["checkpoint"] else None
    thread.interrupts = {task["id"]: task["interrupts"] for task in state["tasks"] if task["interrupts"]}
    waits = thread.interrupts or state["next"]
    thread.status = ThreadStatus.INTERRUPTED if waits else ThreadStatus.IDLE


def _publish(thread: Thread) -> None:
    if not lifecycle.publish_thread(thread):
        raise Unavailable("The thread was deleted while it was made; try again.")
