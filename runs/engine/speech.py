"""The messages that a graph streams, as content-block events."""

import uuid
from collections.abc import Mapping
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    BaseMessageChunk,
    HumanMessage,
    SystemMessage,
)
from langchain_core.messages.ai import UsageMetadata, add_usage

from runs.engine.slices import EventSlices, slice_of
from runs.protocol.blocks import Event, MessageBlocks, made_by

Namespace = tuple[str, ...]
Told = list[tuple[Namespace, Event]]

_ROLES: dict[type[BaseMessage], str] = {AIMessage: "ai", HumanMessage: "human", SystemMessage: "system"}


class Speech:
    """Takes what LangGraph's mode `messages` emits; answers with events, each with the namespace it belongs to.

    Every message is told from its start to its end. What tools answer is none of it: it is told as their output.
    Each event begins with its message's `node`, in the form that tells it from all others that are open in the same
    namespace, and carries the `id` of its message: a reader may hold others open that the run has lost with a process.
    """

    def __init__(self, hidden: frozenset[str] = frozenset()) -> None:
        self._hidden = hidden
        #: By the call of a model: see `_key`.
        self._open: dict[int | str, _Message] = {}
        #: By the call, what LangChain knows of it and what went wrong.
        self.failed: dict[int | str, tuple[dict[str, Any], str]] = {}
        #: Calls of which nothing is to be told any more, with what they are known by.
        self._over: dict[int | str, Any] = {}

    def take(self, namespace: Namespace, message: Any, about: dict[str, Any]) -> Told:
        """A message, or a piece of one, or an event of one."""
        key = _key(message, about)
        if self.failed:
            return [*self.fail(besides=key), *self._take(namespace, key, message, about)]
        return self._take(namespace, key, message, about)

    def _take(self, namespace: Namespace, key: int | str, message: Any, about: dict[str, Any]) -> Told:
        if key in self._over:
            return []
        if isinstance(message, dict):
            return self._take_event(namespace, key, message, about)
        if isinstance(message, BaseMessageChunk):
            return self._take_piece(namespace, key, message, about)
        return self._take_whole(namespace, message, about)

    def fail_call(self, call_id: uuid.UUID, about: dict[str, Any], error: Exception) -> None:
        """A call of a model has failed: LangGraph lets its message just stop. From whichever thread calls the model."""
        self.failed |= {id(about): (about, str(error)), str(call_id): (about, str(error))}

    def fail(self, besides: int | str | None = None) -> Told:
        """The ends of the messages whose models have failed, but for the one of the call `besides`."""
        told = []
        for key in [key for key in list(self.failed) if key != besides]:
            about, error = self.failed.pop(key)
            one = self._open.get(key)
            if one is not None and (one.about is about or isinstance(key, str)):
                self._over[key] = one.about
                told += self._close(key, one, one.blocks.fail(error))
        return told

    def end_task(self, task_id: str) -> Told:
        """The ends of the messages that a task has left: nobody reads on."""
        if not self._open:
            return []
        left = [key for key, one in self._open.items() if task_id in one.place]
        return [event for key in left for event in self._finish(key)]

    def close(self) -> Told:
        """The ends of all that is open."""
        return [*self.fail(), *(event for key in list(self._open) for event in self._finish(key))]

    def _take_piece(
        self, namespace: Namespace, key: int | str, message: BaseMessageChunk, about: dict[str, Any]
    ) -> Told:
        one = self._open.get(key)
        if one is None:
            role = _role(message)
            if role is None:
                return []
            one = self._begin(namespace, key, message.id or "", about, message.response_metadata, role)
        events = one.blocks.feed(slice_of(message))
        fields = message.__dict__
        if fields["response_metadata"]:
            one.metadata |= fields["response_metadata"]
        if usage := fields.get("usage_metadata"):
            one.usage = add_usage(one.usage, usage)
        told = self._tell(one, events)
        return [*told, *self._finish(key)] if fields.get("chunk_position") == "last" else told

    def _take_whole(self, namespace: Namespace, message: Any, about: dict[str, Any]) -> Told:
        role = _role(message)
        if role is None:
            return []
        key = f"whole {message.id}"
        one = self._begin(namespace, key, message.id or "", about, message.response_metadata, role)
        one.metadata, one.usage = message.response_metadata, message.__dict__.get("usage_metadata")
        events = one.blocks.feed([{**block, "index": index} for index, block in enumerate(slice_of(message))])
        return [*self._tell(one, events), *self._finish(key)]

    def _take_event(self, namespace: Namespace, key: int | str, event: dict[str, Any], about: dict[str, Any]) -> Told:
        kind = event.get("event")
        if kind == "message-start":
            if event.get("role", "ai") not in _ROLES.values():
                self._over[key] = about
                return []
            message_id = event.get("id") or event.get("message_id") or str(key)
            # There LangChain has put the call's.
            about = {name: value for name, value in about.items() if name != "run_id"}
            one = self._begin(namespace, key, message_id, about, {}, event.get("role", "ai"), event.get("metadata"))
            return self._tell(one, one.blocks.feed([]))
        one_open = self._open.get(key)
        if one_open is None:
            return []
        if kind == "message-finish":
            one_open.usage, one_open.metadata = event.get("usage"), event.get("metadata") or {}
            return self._finish(key)
        if kind == "error":
            return self._close(key, one_open, one_open.blocks.fail(str(event.get("message") or "")))
        return self._tell(one_open, one_open.blocks.feed(one_open.slices.take(event)))

    def _begin(
        self,
        namespace: Namespace,
        key: int | str,
        message_id: str,
        about: dict[str, Any],
        response: Mapping[str, Any],
        role: str,
        metadata: Mapping[str, Any] | None = None,
    ) -> "_Message":
        public = {k: v for k, v in about.items() if k not in self._hidden and not k.startswith("__")}
        blocks = MessageBlocks(message_id, {**public, **made_by(response, about), **(metadata or {})}, role)
        node = str(about.get("langgraph_node") or "")
        if any((other.namespace, other.node) == (namespace, node) for other in self._open.values()):
            node = f"{node}:{message_id}"
        one = _Message(message_id, namespace, node, about, blocks)
        self._open[key] = one
        return one

    def _finish(self, key: int | str) -> Told:
        one = self._open[key]
        return self._close(key, one, one.blocks.finish(one.usage, one.metadata))

    def _close(self, key: int | str, one: "_Message", events: list[Event]) -> Told:
        told = self._tell(one, events)
        del self._open[key]
        return told

    def _tell(self, one: "_Message", events: list[Event]) -> Told:
        return [(one.namespace, {"node": one.node, **event, "id": one.id}) for event in events]


class _Message:
    """One that is open."""

    __slots__ = ("about", "blocks", "id", "metadata", "namespace", "node", "place", "slices", "usage")

    def __init__(
        self, message_id: str, namespace: Namespace, node: str, about: dict[str, Any], blocks: MessageBlocks
    ) -> None:
        self.id = message_id
        self.namespace = namespace
        self.node = node
        self.blocks = blocks
        self.about = about
        #: Names the task that it is streamed in.
        self.place = str(about.get("langgraph_checkpoint_ns") or "")
        self.slices = EventSlices()
        self.usage: UsageMetadata | None = None
        self.metadata: dict[str, Any] = {}


def _key(message: Any, about: dict[str, Any]) -> int | str:
    """What all that comes of one call of a model has in common.

    All its pieces come with one and the same dictionary, and not all with one id; events come with the call's.
    """
    return str(about.get("run_id")) if isinstance(message, dict) else id(about)


def _role(message: BaseMessage) -> str | None:
    return next((role for cls, role in _ROLES.items() if isinstance(message, cls)), None)
