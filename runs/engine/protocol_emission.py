"""What a graph emits, as records of a run that was started by the Agent Streaming Protocol."""

import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from runs.engine.emission import INTERRUPT, Emission, Namespace
from runs.engine.encode import EventTooLarge, as_text, encode
from runs.engine.speech import Speech
from runs.engine.subgraphs import Subgraphs, Told
from runs.engine.writer import Journal
from runs.records import Record, now_ms

#: The stream modes of LangGraph that such a run needs, whatever was asked for.
SOURCES = ("checkpoints", "custom", "messages", "tasks", "tools", "updates", "values")
#: What the items of a graph's own stream transformers are called, before their name.
NAMED = "custom:"

_MAX_NAME = 255
_SPACES = re.compile(r"\s")


class ProtocolEmission(Emission):
    """Records everything that the protocol has a channel for, in the order in which its clients expect it.

    A checkpoint comes immediately before the values that it holds, though LangGraph emits it after them: values wait
    for the next item of their namespace.
    """

    def __init__(self, journal: Journal, configurable: Iterable[str] = ()) -> None:
        super().__init__(journal, SOURCES, configurable)
        #: The last values of each namespace that nothing has come after.
        self._waiting: dict[Namespace, Record] = {}
        self._speech = Speech(self._hidden)
        self.fail_call = self._speech.fail_call
        self._subgraphs = Subgraphs()
        #: By interrupt, the graph that asked: the innermost that tells of it.
        self._asked_in: dict[str, Namespace] = {}

    @property
    def sources(self) -> list[str]:
        return list(SOURCES)

    def take(self, namespace: Namespace, source: str, emitted: Any) -> None:
        if source == "checkpoints":
            self._append("checkpoint", encode(_envelope(emitted)), namespace)
        if self._waiting:
            self._release(namespace)
        if source == "messages":
            self._tell("block", self._speech.take(namespace, *emitted))
            return
        if self._speech.failed:
            self._tell("block", self._speech.fail())
        match source:
            case "values":
                self._take_values(namespace, emitted)
            case "tasks":
                self._take_task(namespace, emitted)
            case "updates":
                self._take_update(namespace, emitted)
            case "tools":
                self._append("tool", encode(emitted), namespace)
            case "custom":
                self._append(source, encode(emitted), namespace)
            case _ if source.startswith(NAMED):
                # The name of a record is a word.
                self._append(as_text(_SPACES.sub("_", source), _MAX_NAME), encode(emitted), namespace)

    def close(self, waits_for: Iterable[Any]) -> None:
        waits_for = list(waits_for)
        if self._show(waits_for):
            self._take_values((), self.values)
        self.pause()
        self._tell("lifecycle", self._subgraphs.close("completed"))
        for interrupt in waits_for:
            data = encode({"interrupt_id": interrupt.id, "payload": interrupt.value})
            self._append("input.requested", data, self._asked_in.get(interrupt.id, ()))

    def pause(self) -> None:
        for namespace in list(self._waiting):
            self._release(namespace)
        with suppress(EventTooLarge):
            self._tell("block", self._speech.close())

    def give_up(self, error: str) -> None:
        self.pause()
        self._tell("lifecycle", self._subgraphs.close("failed", error))

    def _release(self, namespace: Namespace) -> None:
        if record := self._waiting.pop(namespace, None):
            self._journal.append(record)

    def _release_below(self, place: Namespace) -> None:
        for namespace in [one for one in self._waiting if one[: len(place)] == place]:
            self._release(namespace)

    def _take_values(self, namespace: Namespace, emitted: Any) -> None:
        if not namespace:
            self._see("values", emitted)
        self._waiting[namespace] = Record("values", encode(emitted), namespace, now_ms())

    def _take_update(self, namespace: Namespace, emitted: Any) -> None:
        if not namespace:
            self._see("updates", emitted)
        for interrupt in emitted.get(INTERRUPT, ()) if isinstance(emitted, dict) else ():
            if len(namespace) >= len(self._asked_in.get(interrupt.id, ())):
                self._asked_in[interrupt.id] = namespace
        self._append("updates", encode(emitted), namespace)

    def _take_task(self, namespace: Namespace, task: dict[str, Any]) -> None:
        if "result" in task:
            # Of a graph without a checkpointer nothing comes after its last values.
            self._release_below((*namespace, f"{task['name']}:{task['id']}"))
            self._tell("block", self._speech.end_task(task["id"]))
        self._tell("lifecycle", self._subgraphs.see(namespace, task))
        self._append("tasks", encode(self._public_task(task)), namespace)

    def _tell(self, method: str, told: Told) -> None:
        for namespace, data in told:
            self._append(method, encode(data), namespace)


def _envelope(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """What identifies a checkpoint that LangGraph emits."""
    about = checkpoint.get("metadata") or {}
    told = {"id": _id_of(checkpoint["config"]), "step": about.get("step"), "source": about.get("source")}
    parent = _id_of(checkpoint.get("parent_config"))
    return {**told, "parent_id": parent} if parent else told


def _id_of(config: dict[str, Any] | None) -> str | None:
    return config["configurable"].get("checkpoint_id") if config else None
