"""What records say in the words of the Agent Streaming Protocol: the data of its events, as JSON."""

from typing import Any

import orjson

from runs.protocol.run_ends import told_end

_INTERRUPT = b'"__interrupt__"'

#: How the data of an interrupt goes on to its end, the payload and the closing brace.
_INTERRUPT_ID, _PAYLOAD = b'{"interrupt_id":', b',"payload":'

#: Keys of an update that are no nodes.
_NO_NODES = frozenset({"__interrupt__", "__metadata__"})


def without_interrupts(values: bytes) -> bytes:
    """Values without the interrupts that LangGraph tells among them; those have a channel of their own."""
    if _INTERRUPT not in values:
        return values
    parsed = orjson.loads(values)
    if not isinstance(parsed, dict) or parsed.pop("__interrupt__", None) is None:
        return values
    return orjson.dumps(parsed)


def updates(data: bytes) -> list[bytes]:
    """`{node: update}` as one `{"node", "values"}` for each node."""
    by_node = orjson.loads(data)
    if not isinstance(by_node, dict):
        return []
    if len(by_node) == 1:
        (node,) = by_node
        name = orjson.dumps(node)
        if node not in _NO_NODES and data.startswith(b"{%b:" % name):
            return [b'{"node":%b,"values":%b}' % (name, data[len(name) + 2 : -1])]
    return [
        b'{"node":%b,"values":%b}' % (orjson.dumps(node), orjson.dumps(update))
        for node, update in by_node.items()
        if node not in _NO_NODES
    ]


def custom(data: bytes) -> tuple[str, bytes]:
    """The name of what a node wrote, "" when it has none, and the event's data.

    A node names its event by writing `{"name": …, "payload": …}`.
    """
    if b'"name":' in data and b'"payload":' in data:
        written = orjson.loads(data)
        if isinstance(written, dict) and written.keys() == {"name", "payload"}:
            name = written["name"]
            if isinstance(name, str) and name:
                return name, data
    return "", b'{"payload":%b}' % data


def named(name: str, payload: bytes) -> bytes:
    return b'{"name":%b,"payload":%b}' % (orjson.dumps(name), payload)


def asked(data: bytes) -> bytes:
    """What an interrupt asks: its `payload`, and the same once more as `value`, where Python's clients look for it."""
    head, found, payload = data.partition(_PAYLOAD)
    return b'%b,"value":%b' % (data[:-1], payload) if found and head.startswith(_INTERRUPT_ID) else data


def running(metadata: bytes) -> bytes:
    """The lifecycle of the root graph, where an attempt at the run begins."""
    return _lifecycle("running", orjson.loads(metadata))


def ended(end: bytes) -> bytes:
    """The lifecycle of the root graph, where the run ends."""
    told = orjson.loads(end)
    event, error = told_end(told)
    return _lifecycle(event, told, error)


def _lifecycle(event: str, told: dict[str, Any], error: str | None = None) -> bytes:
    # Runs that ended before the log named their graph lack it.
    data = {"event": event, "graph_name": told.get("graph_id"), "error": error}
    return orjson.dumps({key: value for key, value in data.items() if value is not None})


def checkpoint(data: bytes) -> bytes | None:
    """What identifies a checkpoint of LangGraph's stream mode `checkpoints`; None when it has no id."""
    told = orjson.loads(data)
    if not isinstance(told, dict):
        return None
    identity, metadata = _checkpoint_id(told.get("config")), told.get("metadata")
    if identity is None:
        return None
    metadata = metadata if isinstance(metadata, dict) else {}
    parent = _checkpoint_id(told.get("parent_config"))
    return orjson.dumps(
        {
            "id": identity,
            **({"parent_id": parent} if parent else {}),
            "step": metadata.get("step"),
            "source": metadata.get("source"),
        }
    )


def _checkpoint_id(config: Any) -> str | None:
    configurable = config.get("configurable") if isinstance(config, dict) else None
    found = configurable.get("checkpoint_id") if isinstance(configurable, dict) else None
    return found if isinstance(found, str) else None
