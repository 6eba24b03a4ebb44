"""What a graph emits, as records of the log."""

from collections.abc import Iterable, Mapping
from typing import Any

from langchain_core.messages import BaseMessage, BaseMessageChunk

from runs.engine.encode import encode, message_fields, to_json
from runs.engine.meter import Fail
from runs.engine.writer import Journal
from runs.records import Record, now_ms

#: The stream mode of LangGraph that feeds each mode of the API.
_SOURCES = {
    "values": "values",
    "updates": "updates",
    "messages": "messages",
    "messages-tuple": "messages",
    "custom": "custom",
    "debug": "debug",
    "tasks": "tasks",
    "checkpoints": "checkpoints",
}
INTERRUPT = "__interrupt__"

#: Keys of `configurable` that every reader of the run knows anyway.
_PUBLIC = frozenset(
    {"thread_id", "run_id", "graph_id", "assistant_id", "checkpoint_id", "checkpoint_ns", "checkpoint_map"}
)

Namespace = tuple[str, ...]


class Emission:
    """Records, into a journal, what the modes asked for; remembers the last values in any case."""

    def __init__(self, journal: Journal, modes: Iterable[str], configurable: Iterable[str] = ()) -> None:
        self.modes = frozenset(modes)
        #: What the caller configured is for the graph; LangGraph repeats it beside each of its events.
        self._hidden = frozenset(configurable) - _PUBLIC
        #: What is to be told of calls of models that fail.
        self.fail_call: Fail | None = None
        #: The root graph's values as it emitted them last; None before the first.
        self.values: Any = None
        #: Whether the root graph has told that a task asks or that a breakpoint was met. Its last values need not show
        #: it: what the other tasks of the step wrote comes after.
        self.has_stopped = False
        self._journal = journal
        self._announced: set[str | None] = set()
        self._metadata: tuple[Any, bytes] = (None, b"")

    @property
    def sources(self) -> list[str]:
        """The stream modes to run the graph with."""
        return sorted({"updates", "values", *(_SOURCES[mode] for mode in self.modes if mode in _SOURCES)})

    def take(self, namespace: Namespace, source: str, emitted: Any) -> None:
        """One item of the graph's stream. Raises EventTooLarge."""
        if source == "messages":
            self._take_message(namespace, *emitted)
            return
        if not namespace:
            self._see(source, emitted)
        if source in self.modes:
            if source in ("debug", "checkpoints"):
                emitted = _shown(emitted, self._hidden)
            elif source == "tasks":
                emitted = self._public_task(emitted)
            self._append(source, encode(emitted), namespace)

    def take_event(self, event: Mapping[str, Any]) -> None:
        """One event of `astream_events`."""
        self._append("events", encode(_shown(event, self._hidden)), ())

    def close(self, waits_for: Iterable[Any]) -> None:
        """The last values, if they were not recorded as they came, and the interrupts that wait for an answer."""
        waits_for = list(waits_for)
        unshown = self._show(waits_for)
        if unshown or ("values" not in self.modes and self.values is not None):
            self._append("values", encode(self.values), ())
        for interrupt in waits_for:
            self._append("input.requested", encode({"interrupt_id": interrupt.id, "payload": interrupt.value}), ())

    def pause(self) -> None:
        """The attempt ends here, and the run goes on in another one."""

    def give_up(self, error: str) -> None:
        """The graph did not get to its end. Never raises."""

    def _see(self, source: str, emitted: Any) -> None:
        """What the root graph emits."""
        if source == "values":
            self.values = emitted
        if source in ("updates", "values") and isinstance(emitted, dict) and INTERRUPT in emitted:
            self.has_stopped = True

    def _show(self, waits_for: list[Any]) -> bool:
        """See to it that the last values show an interrupt, if any waits; whether they had to be changed for it."""
        if not waits_for or not isinstance(self.values, dict) or INTERRUPT in self.values:
            return False
        self.values = {**self.values, INTERRUPT: waits_for}
        return True

    def _take_message(self, namespace: Namespace, message: BaseMessage, metadata: dict[str, Any]) -> None:
        data = encode(message_fields(message))
        if "messages-tuple" in self.modes:
            self._append("messages", b"[%b,%b]" % (data, self._encoded(metadata)), namespace)
        if "messages" in self.modes:
            if message.id not in self._announced:
                self._announced.add(message.id)
                about = b'{%b:{"metadata":%b}}' % (to_json(message.id or ""), self._encoded(metadata))
                self._append("messages/metadata", about, namespace)
            kind = "partial" if isinstance(message, BaseMessageChunk) else "complete"
            self._append(f"messages/{kind}", b"[%b]" % data, namespace)

    def _public_task(self, task: dict[str, Any]) -> dict[str, Any]:
        metadata = task.get("metadata")
        if not metadata or not self._hidden:
            return task
        return {**task, "metadata": {key: item for key, item in metadata.items() if key not in self._hidden}}

    def _encoded(self, metadata: dict[str, Any]) -> bytes:
        # All pieces of a message come with one and the same dictionary.
        known, data = self._metadata
        if known is not metadata:
            data = encode({key: value for key, value in metadata.items() if key not in self._hidden})
            self._metadata = (metadata, data)
        return data

    def _append(self, method: str, data: bytes, namespace: Namespace) -> None:
        self._journal.append(Record(method, data, namespace, now_ms()))


def _shown(value: Any, hidden: frozenset[str], inside: str = "") -> Any:
    """`value` without the keys of a config that are LangGraph's own or the caller's business."""
    if isinstance(value, dict):
        left_out = hidden if inside in ("configurable", "metadata") else frozenset[str]()
        return {
            key: _shown(item, hidden, key)
            for key, item in value.items()
            if key not in left_out and not (isinstance(key, str) and key.startswith("__") and key != INTERRUPT)
        }
    if isinstance(value, list):
        return [_shown(item, hidden, inside) for item in value]
    return value
