"""Messages as a run records them whose stream modes name them, told as content-block events.

The events of a message say nothing of whose they are, so at each place in the tree of graphs one message is told after
the other: what is said meanwhile in another one, by a node beside it, waits until the first has ended.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from langchain_core.messages.ai import add_usage

from runs.protocol.blocks import MessageBlocks, made_by, whole
from runs.protocol.content import blocks_of

Fields = Mapping[str, Any]

#: The kind of a piece of a model's message, and that of a whole one. Others are no news to clients: they are values.
_PIECE, _WHOLE = "AIMessageChunk", "ai"

#: The records of messages; the others beside the first are left out when a run has that.
TUPLES = b"messages"
RECORDS = frozenset({TUPLES, b"messages/metadata", b"messages/partial", b"messages/complete"})


class RecordedMessages:
    """The messages of one run, from its first record on. Places are namespaces as JSON, and so are events."""

    def __init__(self) -> None:
        self._has_tuples = False
        self._places: dict[bytes, _Place] = {}
        self._metadata: dict[str, Fields] = {}

    def take(self, record: bytes, where: bytes, data: bytes) -> list[bytes]:
        """What can be told at this place after its next record."""
        if record == TUPLES:
            self._has_tuples = True
            message, metadata = orjson.loads(data)
        elif self._has_tuples:
            return []
        elif record == b"messages/metadata":
            self._metadata |= {key: about["metadata"] for key, about in orjson.loads(data).items()}
            return []
        else:
            (message,) = orjson.loads(data)
            metadata = self._metadata.get(message.get("id") or "", {})
        if message.get("type") not in (_PIECE, _WHOLE):
            return []
        return self._places.setdefault(where, _Place()).take(message, metadata)

    def close(self) -> Iterator[tuple[bytes, bytes]]:
        """The end of all that is not told to its end, with its place: no more will come of it."""
        for where, place in self._places.items():
            for event in place.close():
                yield where, event


class _Place:
    def __init__(self) -> None:
        #: Those that have not been told to their end, in the order of their beginnings.
        self._messages: dict[str, _Message] = {}
        self._over: set[str] = set()

    def take(self, message: Fields, metadata: Fields) -> list[bytes]:
        name = message.get("id") or ""
        if name in self._over:
            return []
        known = self._messages.get(name)
        if known is None:
            known = self._messages[name] = _Message(name, message, metadata)
            self._end_before(known.step)
        known.take(message)
        return self._told()

    def close(self) -> list[bytes]:
        for message in self._messages.values():
            message.end()
        return self._told()

    def _end_before(self, step: int) -> None:
        """A graph takes a step when the one before is over, and so are its messages."""
        for message in self._messages.values():
            if message.step < step:
                message.end()

    def _told(self) -> list[bytes]:
        told: list[bytes] = []
        for name, message in list(self._messages.items()):
            told += message.tell()
            if not message.over:
                break
            self._over.add(name)
            del self._messages[name]
        return told


class _Message:
    def __init__(self, name: str, first: Fields, metadata: Fields) -> None:
        step = metadata.get("langgraph_step")
        self.step = step if isinstance(step, int) else 0
        self.over = False
        self._name = name
        self._metadata = {**metadata, **made_by(first.get("response_metadata") or {}, metadata)}
        self._blocks = MessageBlocks(name, self._metadata)
        self._usage: Any = None
        self._about: dict[str, Any] = {}
        self._events: list[dict[str, Any]] = []

    def take(self, message: Fields) -> None:
        self._about |= message.get("response_metadata") or {}
        if message["type"] == _WHOLE:
            self._take_whole(message)
            return
        if usage := message.get("usage_metadata"):
            self._usage = add_usage(self._usage, usage)
        self._events += self._blocks.feed(blocks_of(message))
        if message.get("chunk_position") == "last":
            self.end()

    def _take_whole(self, message: Fields) -> None:
        self._usage = message.get("usage_metadata") or self._usage
        if self._blocks.started:
            self.end()
            return
        self.over = True
        self._events += whole(
            self._name, blocks_of(message), metadata=self._metadata, usage=self._usage, about=self._about
        )

    def end(self) -> None:
        if not self.over:
            self.over = True
            self._events += self._blocks.finish(self._usage, self._about)

    def tell(self) -> list[bytes]:
        """What has come since it was asked last."""
        events, self._events = self._events, []
        return [orjson.dumps(event) for event in events]
