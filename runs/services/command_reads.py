"""Commands of the Agent Streaming Protocol that read."""

from typing import Any

import orjson

from accounts.tenancy import Tenant
from runs.exceptions import NotFound
from runs.identifiers import is_thread_id
from runs.log import read_run_after
from runs.models import Run
from runs.protocol.commands import Done
from runs.protocol.requests.base import CheckpointBody, Json
from runs.protocol.requests.commands import GetTree, ListCheckpoints, StateGet
from runs.protocol.requests.state import CheckpointQuery, HistoryQuery
from runs.protocol.tree import TELLING, Tree
from runs.records import heads_and_data
from runs.services.once import Once
from runs.services.runs import NOT_FOUND as RUN_NOT_FOUND
from runs.services.runs import current_run, get_run
from runs.services.state import demand_checkpoint, demand_namespace, get_history, get_state
from runs.states import RunStatus

_MAX_STATES = 1000


def get_tree(tenant: Tenant, thread_id: str, params: GetTree, once: Once | None) -> Done:
    """The tree of a run: the one named, else the active one, else the last. Raises NotFound."""
    run = get_run(tenant, thread_id, params.run_id) if params.run_id is not None else _run_about(tenant, thread_id)
    tree = Tree(str(run.run_id), run.graph_id, RunStatus(run.status))
    after = run.after_seq
    while chunks := read_run_after(run.run_id, after):
        for chunk in chunks:
            for method, where, data in heads_and_data(chunk):
                if method in TELLING:
                    tree.see(method, where, data)
        after = chunks[-1].last_seq
    return Done({"tree": tree.fields()})


def _run_about(tenant: Tenant, thread_id: str) -> Run:
    """Raises NotFound."""
    run = current_run(tenant, thread_id) if is_thread_id(thread_id) else None
    if run is None:
        raise NotFound(RUN_NOT_FOUND)
    return run


def state_of(tenant: Tenant, thread_id: str, params: StateGet, once: Once | None) -> Done:
    """The latest state of the graph of a namespace. Raises NotFound and Unavailable."""
    place = "|".join(params.namespace)
    demand_namespace(tenant, thread_id, place)
    query = CheckpointQuery(checkpoint=CheckpointBody(checkpoint_ns=place), select=["values", "checkpoint_id"])
    state = orjson.loads(get_state(tenant, thread_id, query))
    values = state["values"]
    if params.keys is not None:
        there = values if isinstance(values, dict) else {}
        values = {key: there[key] for key in params.keys if key in there}
    checkpoint = {"id": state["checkpoint_id"]} | ({"ns": place} if place else {})
    return Done({"values": values} | ({"checkpoint": checkpoint} if state["checkpoint_id"] else {}))


def list_checkpoints(tenant: Tenant, thread_id: str, params: ListCheckpoints, once: Once | None) -> Done:
    """The checkpoints of the graph of a namespace, newest first. Raises NotFound and Unavailable."""
    place = "|".join(params.namespace)
    demand_namespace(tenant, thread_id, place)
    before = {"checkpoint_id": params.before, "checkpoint_ns": place}
    demand_checkpoint(tenant, thread_id, before)
    query = HistoryQuery(
        # With the one before the last, which knows what led to the last.
        limit=min(params.limit + 1, _MAX_STATES),
        before=params.before,
        checkpoint=CheckpointBody(checkpoint_ns=place),
        select=["checkpoint_id", "parent_checkpoint_id", "created_at", "metadata", "tasks"],
    )
    states = orjson.loads(get_history(tenant, thread_id, query))
    by_id = {state["checkpoint_id"]: state for state in states}
    shown = [_summary(state, by_id.get(state["parent_checkpoint_id"])) for state in states[: params.limit]]
    return Done({"checkpoints": shown})


def _summary(state: Json, parent: Any) -> Json:
    metadata = state["metadata"] or {}
    # What ran is what was to run next.
    ran = [task["name"] for task in parent["tasks"]] if parent and metadata.get("source") == "loop" else []
    return {
        "id": state["checkpoint_id"],
        "timestamp": state["created_at"],
        "step": metadata.get("step"),
        **({"node_name": ran[0]} if len(ran) == 1 else {}),
        "metadata": metadata,
    }
