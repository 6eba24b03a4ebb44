"""The state of threads: read, and changed as if a node had."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.types import PregelTask, StateSnapshot

from runs.engine.desk.questions import Answer, Means, Params, Refused
from runs.engine.storage import WRITER_KEY, StaleAttempt, Writer


async def state(means: Means, params: Params) -> Any:
    config = _config(params)
    async with means.open(params, config, "threads.read") as graph:
        if params["checkpoint"].get("checkpoint_id") and await means.saver.aget_tuple(config) is None:
            raise Refused(404, "Checkpoint not found.")
        return thread_state(await graph.aget_state(config, subgraphs=params["subgraphs"]))


async def history(means: Means, params: Params) -> Any:
    config = _config(params)
    before = params["before"]
    async with means.open(params, config, "threads.read") as graph:
        return [
            thread_state(snapshot)
            async for snapshot in graph.aget_state_history(
                config,
                filter=params["metadata"] or None,
                before={"configurable": before} if before else None,
                limit=params["limit"],
            )
        ]


async def update(means: Means, params: Params) -> Any:
    config = _config(params)
    if params["checkpoint"].get("checkpoint_id") and await means.saver.aget_tuple(config) is None:
        raise Refused(404, "Checkpoint not found.")
    writer = Writer(params["thread_id"], params["position"], 1)
    await means.saver.raise_fence(writer)
    config["configurable"][WRITER_KEY] = writer
    config["metadata"] = params["about"]
    async with means.open(params, config, "threads.update", writer=writer) as graph:
        with refusing_updates():
            written = await graph.aupdate_state(config, params["values"], as_node=params["as_node"])
        snapshot = await graph.aget_state({"configurable": {"thread_id": params["thread_id"]}})
    return {"checkpoint": _checkpoint(written), "state": thread_state(snapshot)}


@contextmanager
def refusing_updates() -> Iterator[None]:
    """What makes an update of state impossible is for the caller."""
    try:
        yield
    except StaleAttempt:
        raise
    except Exception as exc:  # the graph's writers and branches, which may raise anything
        reason = f"{type(exc).__name__}: {exc}"[:500]
        raise Refused(422, f"The state can not be updated so: {reason}") from exc


def _config(params: Params) -> RunnableConfig:
    return {
        "configurable": {
            **{key: value for key, value in params["checkpoint"].items() if value is not None},
            "thread_id": params["thread_id"],
        }
    }


def thread_state(snapshot: StateSnapshot) -> dict[str, Any]:
    """A snapshot as the LangGraph API shows it."""
    checkpoint = _checkpoint(snapshot.config)
    parent = _checkpoint(snapshot.parent_config) if snapshot.parent_config else None
    stored = snapshot.metadata is not None
    return {
        "values": snapshot.values,
        "next": list(snapshot.next),
        "tasks": [_task(task) for task in snapshot.tasks],
        "metadata": snapshot.metadata,
        "created_at": snapshot.created_at,
        "checkpoint": checkpoint if stored else None,
        "parent_checkpoint": parent,
        "interrupts": list(snapshot.interrupts),
        "checkpoint_id": checkpoint["checkpoint_id"] if stored else None,
        "parent_checkpoint_id": parent["checkpoint_id"] if parent else None,
    }


def _checkpoint(config: RunnableConfig) -> dict[str, Any]:
    configurable = config["configurable"]
    place = {
        "thread_id": configurable["thread_id"],
        "checkpoint_ns": configurable.get("checkpoint_ns", ""),
        "checkpoint_id": configurable.get("checkpoint_id"),
    }
    # Of a subgraph: what a run has to be given back to start there.
    within = configurable.get("checkpoint_map")
    return place | {"checkpoint_map": within} if within and place["checkpoint_ns"] else place


def _task(task: PregelTask) -> dict[str, Any]:
    state, checkpoint = None, None
    if isinstance(task.state, StateSnapshot):
        state = thread_state(task.state)
    elif task.state is not None:
        checkpoint = _checkpoint(task.state)
    return {
        "id": task.id,
        "name": task.name,
        "path": list(task.path),
        "error": str(task.error) if task.error else None,
        "interrupts": list(task.interrupts),
        "checkpoint": checkpoint,
        "state": state,
        "result": task.result,
    }


async def has_checkpoint(means: Means, params: Params) -> bool:
    return await means.saver.aget_tuple(_config(params)) is not None


ANSWERS: dict[str, Answer] = {
    "state": state,
    "has_checkpoint": has_checkpoint,
    "history": history,
    "update": update,
}
