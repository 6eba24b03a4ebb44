"""The state of a thread: read and changed by way of an engine, which knows the graph."""

from collections.abc import Sequence
from typing import Any

import orjson
from django.db import transaction

from accounts.tenancy import Tenant
from runs import lifecycle
from runs.exceptions import Conflict, Invalid, NotFound
from runs.lifecycle import ThreadBusy
from runs.models import Run, Thread
from runs.protocol.requests.base import CheckpointBody
from runs.protocol.requests.state import CheckpointQuery, HistoryQuery, StateUpdate
from runs.services.questions import ask
from runs.services.threads import get_thread, hold_thread

NOT_FOUND = "Checkpoint not found."
NAMESPACE_NOT_FOUND = "The thread has no state in this namespace."

EMPTY_STATE: dict[str, Any] = {
    "values": {},
    "next": [],
    "tasks": [],
    "metadata": None,
    "created_at": None,
    "checkpoint": None,
    "parent_checkpoint": None,
    "interrupts": [],
    "checkpoint_id": None,
    "parent_checkpoint_id": None,
}


def get_state(tenant: Tenant, thread_id: str, query: CheckpointQuery) -> bytes:
    """The state at a checkpoint, the latest if none is named, as JSON. Raises NotFound, Invalid, Unavailable."""
    thread = get_thread(tenant, thread_id)
    if not thread.graph_id:
        return _selected(orjson.dumps(EMPTY_STATE), query.select)
    checkpoint = _checkpoint(thread, query.checkpoint)
    answer = _ask("state", tenant, thread, checkpoint=checkpoint, subgraphs=query.subgraphs)
    return _selected(answer, query.select)


def get_history(tenant: Tenant, thread_id: str, query: HistoryQuery) -> bytes:
    """States, newest first, as a JSON array. Raises as `get_state`."""
    thread = get_thread(tenant, thread_id)
    if not thread.graph_id:
        return b"[]"
    answer = _ask(
        "history",
        tenant,
        thread,
        checkpoint=_checkpoint(thread, query.checkpoint or CheckpointBody()),
        before=_before(thread, query.before),
        metadata=query.metadata,
        limit=query.limit,
    )
    return _selected(answer, query.select)


def _selected(answer: bytes, select: Sequence[str] | None) -> bytes:
    """A state, or several, with only the keys that are asked for."""
    if select is None:
        return answer
    found = orjson.loads(answer)
    shown = [_part(state, select) for state in found] if isinstance(found, list) else _part(found, select)
    return orjson.dumps(shown)


def _part(state: dict[str, Any], select: Sequence[str]) -> dict[str, Any]:
    part = {key: state[key] for key in select if key in state}
    named = [key.removeprefix("values.") for key in select if key.startswith("values.")]
    if named and "values" not in part:
        values = state["values"] if isinstance(state["values"], dict) else {}
        part["values"] = {key: values[key] for key in named if key in values}
    return part


def demand_checkpoint(tenant: Tenant, thread_id: str, configurable: dict[str, Any]) -> None:
    """Raise NotFound unless the thread has the checkpoints that `configurable` names, if it names any."""
    if not configurable.get("checkpoint_id"):
        return
    thread = get_thread(tenant, thread_id)
    places = configurable.get("checkpoint_map") or {}
    for namespace, checkpoint_id in {
        **places,
        configurable.get("checkpoint_ns") or "": configurable["checkpoint_id"],
    }.items():
        named = {"checkpoint_ns": namespace, "checkpoint_id": checkpoint_id}
        if orjson.loads(_ask("has_checkpoint", tenant, thread, checkpoint=named)) is not True:
            raise NotFound(NOT_FOUND)


def demand_namespace(tenant: Tenant, thread_id: str, namespace: str) -> None:
    """Raise NotFound unless the graph of this namespace has a state in the thread; the root always has one."""
    thread = get_thread(tenant, thread_id)
    if not namespace:
        return
    named = {"checkpoint_ns": namespace}
    if not thread.graph_id or orjson.loads(_ask("has_checkpoint", tenant, thread, checkpoint=named)) is not True:
        raise NotFound(NAMESPACE_NOT_FOUND)


def update_state(tenant: Tenant, thread_id: str, body: StateUpdate) -> dict[str, Any]:
    """Write values as if a node had; answers the new checkpoint.

    Raises NotFound, Invalid, Unavailable, and Conflict while a run is active or when one comes in between.
    """
    checkpoint = body.checkpoint or CheckpointBody()
    if body.checkpoint_id:
        checkpoint = checkpoint.model_copy(update={"checkpoint_id": body.checkpoint_id})
    try:
        with transaction.atomic():
            place = hold_thread(tenant, thread_id)
            thread = get_thread(tenant, thread_id)
            if not thread.graph_id:
                raise Invalid(("path", "thread_id"), "the thread has not run a graph yet")
            start = _checkpoint(thread, checkpoint)
            position = lifecycle.reserve_position(place)
    except ThreadBusy:
        raise Conflict("The thread has active runs; its state can not be updated now.") from None
    last = Run.objects.filter(thread=thread).order_by("-position").values_list("assistant_id", flat=True).first()
    answer = _ask(
        "update",
        tenant,
        thread,
        checkpoint=start,
        values=body.values,
        as_node=body.as_node,
        position=position,
        about={"graph_id": thread.graph_id, "assistant_id": str(last) if last else None},
    )
    result = orjson.loads(answer)
    state = result["state"]
    interrupts = {task["id"]: task["interrupts"] for task in state["tasks"] if task["interrupts"]}
    lifecycle.state_changed(
        thread_id, position, values=state["values"], interrupts=interrupts, waits_for_input=bool(state["next"])
    )
    made: dict[str, Any] = result["checkpoint"]
    return {"checkpoint": made, "configurable": made, "checkpoint_id": made["checkpoint_id"]}


def _checkpoint(thread: Thread, body: CheckpointBody) -> dict[str, Any]:
    if body.thread_id not in (None, thread.pk):
        raise NotFound(NOT_FOUND)
    return {**body.model_dump(exclude_none=True, exclude={"thread_id"}), "checkpoint_ns": body.checkpoint_ns or ""}


def _before(thread: Thread, before: Any) -> dict[str, Any] | None:
    """The checkpoint before which a history starts: an id, a checkpoint, or a config that holds one."""
    if before is None:
        return None
    if isinstance(before, CheckpointBody):
        return _checkpoint(thread, before)
    if isinstance(before, dict):
        before = before.get("configurable", before)
        before = before.get("checkpoint_id") if isinstance(before, dict) else None
    if not isinstance(before, str):
        raise Invalid(("body", "before"), "must be the id of a checkpoint, or a checkpoint")
    return {"checkpoint_id": before}


def _ask(method: str, tenant: Tenant, thread: Thread, **params: Any) -> bytes:
    return ask(method, tenant, thread.graph_id, thread_id=thread.pk, **params)
