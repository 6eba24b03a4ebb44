"""The tree of graphs that a run has executed, as the Agent Streaming Protocol tells it. Built of records."""

from dataclasses import dataclass

import orjson

from runs.protocol.requests.base import Json
from runs.protocol.run_ends import told_end
from runs.protocol.selection import Namespace
from runs.states import RunStatus

#: The methods of the records that say something of the tree.
TELLING = frozenset({b"lifecycle", b"end"})

_OF_RUN = {
    RunStatus.PENDING: "started",
    RunStatus.RUNNING: "running",
    RunStatus.SUCCESS: "completed",
    RunStatus.ERROR: "failed",
    RunStatus.TIMEOUT: "failed",
    RunStatus.INTERRUPTED: "failed",
}
_UNENDED = frozenset({"started", "running"})


@dataclass(slots=True)
class _Node:
    status: str
    graph_name: str


class Tree:
    """The root, and the subgraphs that records have told of."""

    def __init__(self, run_id: str, graph_id: str, status: RunStatus) -> None:
        self._run_id = run_id
        self._nodes: dict[Namespace, _Node] = {(): _Node(_OF_RUN[status], graph_id)}

    def see(self, method: bytes, where: bytes, data: bytes) -> None:
        """A record of a method that is TELLING."""
        told = orjson.loads(data)
        if method == b"end":
            self._nodes[()].status, _ = told_end(told)
        elif namespace := tuple(orjson.loads(where)):
            node = self._nodes.setdefault(namespace, _Node("started", _name_of(namespace)))
            node.status = told["event"]
            node.graph_name = told.get("graph_name") or node.graph_name

    def fields(self) -> Json:
        """As the protocol shows it, children in the order in which they started."""
        shown: dict[Namespace, Json] = {}
        for namespace, node in sorted(self._nodes.items(), key=lambda item: len(item[0])):
            shown[namespace] = {
                "namespace": list(namespace),
                "status": self._status(node),
                "graph_name": node.graph_name,
                "children": [],
            }
            if namespace:
                above = next(place for place in _above(namespace) if place in shown)
                shown[above]["children"].append(shown[namespace])
        return shown[()] | {"metadata": {"run_id": self._run_id}}

    def _status(self, node: _Node) -> str:
        """Nothing goes on in a run that has ended, whether or not it was told."""
        root = self._nodes[()].status
        return root if node.status in _UNENDED and root not in _UNENDED else node.status


def _name_of(namespace: Namespace) -> str:
    return namespace[-1].partition(":")[0]


def _above(namespace: Namespace) -> list[Namespace]:
    """The places above one, the nearest first."""
    return [namespace[:length] for length in range(len(namespace) - 1, -1, -1)]
