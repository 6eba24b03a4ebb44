"""The lives of a run's subgraphs, told from the tasks that LangGraph emits: no graph says itself that it begins."""

from collections.abc import Mapping
from typing import Any

Namespace = tuple[str, ...]
Told = list[tuple[Namespace, dict[str, Any]]]


class Subgraphs:
    """What the Agent Streaming Protocol tells on its channel `lifecycle`, but for the root graph.

    A subgraph has started with the first task in its namespace, and ends with the task of its parent that runs it.
    """

    def __init__(self) -> None:
        self._seen: set[Namespace] = set()
        #: Those that run, with the tasks that run them.
        self._open: dict[Namespace, str] = {}
        #: By task, the call of a tool that it executes.
        self._calls: dict[str, str] = {}

    def see(self, namespace: Namespace, task: Mapping[str, Any]) -> Told:
        """A task of the graph in `namespace` begins or has ended."""
        if "result" in task:
            return self._end_of(namespace, task)
        if call := _call_in(task.get("input")):
            self._calls[task["id"]] = call
        if not namespace or namespace in self._seen:
            return []
        self._seen.add(namespace)
        return self._start(namespace, task.get("metadata") or {})

    def close(self, event: str, error: str | None = None) -> Told:
        """What is still running ends so."""
        told = [_ended(namespace, event, error) for namespace in reversed(self._open)]
        self._open.clear()
        return told

    def _start(self, namespace: Namespace, metadata: Mapping[str, Any]) -> Told:
        node, _, task_id = namespace[-1].partition(":")
        if not task_id:
            # Nothing would tell its end.
            return []
        self._open[namespace] = task_id
        agent = metadata.get("lc_agent_name")
        data: dict[str, Any] = {
            "event": "started",
            "namespace": namespace,
            "graph_name": agent or node,
            "trigger_call_id": task_id,
        }
        if agent and task_id in self._calls:
            data["cause"] = {"type": "toolCall", "tool_call_id": self._calls[task_id]}
        return [(namespace, data)]

    def _end_of(self, parent: Namespace, task: Mapping[str, Any]) -> Told:
        if not self._open:
            return []
        over = [one for one, task_id in self._open.items() if task_id == task.get("id") and one[:-1] == parent]
        for namespace in over:
            del self._open[namespace]
        # One that asks has no error of its own.
        if task.get("interrupts"):
            return [_ended(namespace, "interrupted") for namespace in over]
        error = task.get("error")
        event = "failed" if error else "completed"
        return [_ended(namespace, event, str(error) if error else None) for namespace in over]


def _ended(namespace: Namespace, event: str, error: str | None = None) -> tuple[Namespace, dict[str, Any]]:
    data: dict[str, Any] = {"event": event, "namespace": namespace}
    return namespace, {**data, "error": error} if error else data


def _call_in(given: Any) -> str | None:
    """The id of the call of a tool that is the input of a task."""
    if isinstance(given, dict):
        given = [given.get("tool_call")]
    calls = given if isinstance(given, list) else []
    return next((call["id"] for call in calls if isinstance(call, dict) and isinstance(call.get("id"), str)), None)
