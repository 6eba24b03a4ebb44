"""Questions about the state of a thread, and changes to it that are not runs. No node of a graph runs here."""

import logging
import sqlite3
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
from langchain_core.runnables import RunnableConfig
from langgraph.types import PregelTask, StateSnapshot
from langgraph_sdk.runtime import AccessContext

from runs.engine.caller import RunUser
from runs.engine.encode import to_json
from runs.engine.graphs import BrokenGraph, Registry, UnknownGraph
from runs.engine.storage import WRITER_KEY, FencedSaver, Scope, StaleAttempt, Writer

logger = logging.getLogger(__name__)

Params = dict[str, Any]


class Refused(Exception):
    """The question can not be answered: `status` and `detail` are for the caller."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail


class StateDesk:
    """Answers calls; each answer is JSON."""

    def __init__(self, registry: Registry, saver: FencedSaver) -> None:
        self._registry = registry
        self._saver = saver
        self._methods: dict[str, Callable[[Params], Awaitable[Any]]] = {
            "state": self._state,
            "history": self._history,
            "update": self._update,
            "purge": self._purge,
        }

    async def answer(self, method: str, params: Params) -> bytes:
        """Raises Refused, with 503 for what has nothing to do with the question."""
        try:
            return to_json(await self._methods[method](params))
        except Refused:
            raise
        except (UnknownGraph, BrokenGraph) as exc:
            raise Refused(422, str(exc)) from exc
        except StaleAttempt as exc:
            raise Refused(409, "A newer run has taken the thread over.") from exc
        except (sqlite3.Error, psycopg.Error) as exc:
            logger.exception("the question '%s' about thread %s was not answered", method, params["thread_id"])
            raise Refused(503, "The question could not be answered.") from exc
        except Exception as exc:  # a graph's own code runs here too
            logger.exception("the graph of thread %s can not make out its state", params["thread_id"])
            raise Refused(422, f"The graph can not make out its state: {type(exc).__name__}.") from exc

    async def _state(self, params: Params) -> Any:
        config = _config(params)
        async with self._open(params, config, "threads.read") as graph:
            if params["checkpoint"].get("checkpoint_id") and await self._saver.aget_tuple(config) is None:
                raise Refused(404, "Checkpoint not found.")
            return thread_state(await graph.aget_state(config, subgraphs=params["subgraphs"]))

    async def _history(self, params: Params) -> Any:
        config = _config(params)
        before = params["before"]
        async with self._open(params, config, "threads.read") as graph:
            return [
                thread_state(snapshot)
                async for snapshot in graph.aget_state_history(
                    config,
                    filter=params["metadata"] or None,
                    before={"configurable": before} if before else None,
                    limit=params["limit"],
                )
            ]

    async def _update(self, params: Params) -> Any:
        config = _config(params)
        if params["checkpoint"].get("checkpoint_id") and await self._saver.aget_tuple(config) is None:
            raise Refused(404, "Checkpoint not found.")
        writer = Writer(params["thread_id"], params["position"], 1)
        await self._saver.raise_fence(writer)
        config["configurable"][WRITER_KEY] = writer
        config["metadata"] = params["about"]
        async with self._open(params, config, "threads.update") as graph:
            try:
                written = await graph.aupdate_state(config, params["values"], as_node=params["as_node"])
            except StaleAttempt:
                raise
            except Exception as exc:  # The graph's writers and branches, which may raise anything.
                reason = f"{type(exc).__name__}: {exc}"[:500]
                raise Refused(422, f"The state can not be updated so: {reason}") from exc
            snapshot = await graph.aget_state({"configurable": {"thread_id": params["thread_id"]}})
        return {"checkpoint": _checkpoint(written), "state": thread_state(snapshot)}

    async def _purge(self, params: Params) -> Any:
        await self._saver.purge(params["thread_id"])

    def _open(self, params: Params, config: RunnableConfig, access: AccessContext) -> Any:
        return self._registry.open(
            params["graph_id"],
            config,
            access_context=access,
            checkpointer=self._saver,
            store=self._saver.store(Scope(params["organization_id"], params["user_id"])),
            user=RunUser.of(params["user_id"] and uuid.UUID(params["user_id"])),
        )


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
    return {
        "thread_id": configurable["thread_id"],
        "checkpoint_ns": configurable.get("checkpoint_ns", ""),
        "checkpoint_id": configurable.get("checkpoint_id"),
    }


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
