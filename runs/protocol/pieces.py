"""Content-block events as pieces of messages: what LangGraph's stream mode `messages` tells where the log has blocks.

The pieces of a message, as LangChain's `AIMessageChunk` and its like, add up to it.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import orjson

from runs.protocol.content import TEXTS

Content = dict[str, Any]

_CALL = "tool_call_chunk"
_CALLS = frozenset({_CALL, "tool_call", "invalid_tool_call"})

_AI = "AIMessageChunk"
#: What LangChain calls a piece of a message, by whose message it is.
_KINDS = {"ai": _AI, "human": "HumanMessageChunk", "system": "SystemMessageChunk"}


class Told(NamedTuple):
    """What one content-block event tells. All is JSON."""

    message_id: bytes
    #: What LangGraph says about the message.
    metadata: bytes
    #: A piece of the message; None where it begins.
    piece: bytes | None


class MessagePieces:
    """The messages of one run, from their first event on."""

    def __init__(self) -> None:
        #: Those that are open, by their place and their id.
        self._open: dict[bytes, dict[str, _Message]] = {}

    def take(self, where: bytes, data: bytes) -> Told | None:
        """The next event at a place, a namespace as JSON; None for one that brings no piece."""
        event = orjson.loads(data)
        kind, message_id = event["event"], event.get("id")
        if kind == "message-start":
            message = _Message(event)
            self._open.setdefault(where, {})[message.message_id] = message
            return message.told(None)
        here = self._open.get(where, {})
        # An event without an id is one of the only message that is open.
        known = here.get(next(iter(here), "") if message_id is None else message_id)
        if known is None:
            return None
        if kind in ("message-finish", "error"):
            del here[known.message_id]
        piece = known.piece(kind, event)
        return known.told(piece) if piece else None


class _Message:
    def __init__(self, start: Content) -> None:
        self.message_id: str = start.get("id") or ""
        self._kind = _KINDS.get(start.get("role", "ai"), _AI)
        self._metadata = orjson.dumps(start.get("metadata") or {})
        self._open: dict[int, _Block] = {}
        #: What the content is by now: a list of blocks, text, or not known yet.
        self._listed: bool | None = None

    def told(self, piece: Content | None) -> Told:
        return Told(orjson.dumps(self.message_id), self._metadata, orjson.dumps(piece) if piece else None)

    def piece(self, kind: str, event: Content) -> Content | None:
        if kind in ("message-finish", "error"):
            return self._end(event) if kind == "message-finish" else None
        index = event["index"]
        if kind == "content-block-delta":
            known = self._open.get(index)
            return self._saying(known, known.grow(event["delta"])) if known else None
        content = event["content"]
        block = self._open.get(index) or _Block(index, content)
        if kind == "content-block-start":
            self._open[index] = block
            return self._saying(block, block.start(content))
        self._open.pop(index, None)
        return self._saying(block, block.finish(content))

    def _end(self, event: Content) -> Content:
        piece = self._piece() | {
            "additional_kwargs": event.get("additional_kwargs") or {},
            "response_metadata": event.get("metadata") or {},
        }
        return piece | {"usage_metadata": event.get("usage"), "chunk_position": "last"} if self._kind == _AI else piece

    def _saying(self, block: "_Block", part: Content | None) -> Content | None:
        """The piece that consists of this part of a block."""
        if part is None:
            return None
        if block.is_call:
            return self._piece("", [part])
        # Text is told as such as long as there is nothing else: what most messages are.
        if block.kind == "text" and (block.plain or self._listed is None):
            block.plain, self._listed = True, False
            return self._piece(part["text"]) if part["text"] else None
        self._listed = True
        return self._piece([part])

    def _piece(self, content: str | list[Content] = "", calls: Sequence[Content] = ()) -> Content:
        piece: Content = {
            "content": content,
            "additional_kwargs": {},
            "response_metadata": {},
            "type": self._kind,
            "name": None,
            "id": self.message_id,
        }
        if self._kind != _AI:
            return piece
        return piece | {
            "tool_calls": [],
            "invalid_tool_calls": [],
            "usage_metadata": None,
            "tool_call_chunks": [*calls],
            "chunk_position": None,
        }


class _Block:
    """One block of a message, and what was told of it."""

    def __init__(self, index: int, first: Content) -> None:
        self.kind: str = first["type"]
        self.is_call = self.kind in _CALLS
        #: Whether it is told as bare text.
        self.plain = False
        self._index = index
        self._size = 0
        self._arguments = ""
        self._named: Content = {"id": None, "name": None}

    def start(self, content: Content) -> Content | None:
        if self.kind == _CALL:
            return self._call(content, content.get("args") or "")
        field = TEXTS.get(self.kind)
        return self._text(field, content[field]) if field and content.get(field) else None

    def grow(self, delta: Content) -> Content | None:
        match delta["type"]:
            case "text-delta" | "reasoning-delta" if field := TEXTS.get(self.kind):
                return self._text(field, delta.get(field) or "")
            case "tool-call-delta" if self.kind == _CALL:
                return self._call({}, delta["args"])
            case "block-delta" if self.kind == _CALL:
                fields = delta["fields"]
                return self._call(fields, (fields.get("args") or "")[len(self._arguments) :])
        return None

    def finish(self, content: Content) -> Content | None:
        """What is left to tell."""
        if self.is_call:
            call = self._call(content, _rest(self._arguments, content.get("args")))
            return call if self.kind != _CALL or call["args"] or call["id"] or call["name"] else None
        field = TEXTS.get(self.kind)
        if field is None:
            return {**content, "index": self._index}
        rest = self._text(field, (content.get(field) or "")[self._size :])
        extras = {key: value for key, value in content.items() if key not in ("type", "index", field)}
        return {**rest, **extras} if rest[field] or extras else None

    def _text(self, field: str, text: str) -> Content:
        self._size += len(text)
        return {"type": self.kind, field: text, "index": self._index}

    def _call(self, content: Content, arguments: str) -> Content:
        self._arguments += arguments
        news = {key: content.get(key) if told is None else None for key, told in self._named.items()}
        self._named |= {key: value for key, value in news.items() if value is not None}
        return {**news, "args": arguments, "index": self._index, "type": _CALL}


def _rest(told: str, arguments: Any) -> str:
    """What makes the beginning of some arguments, as JSON, whole. A model's own way to write JSON is guessed."""
    if isinstance(arguments, str):
        return arguments[len(told) :]
    if _is_json_of(told, arguments):
        return ""
    return next((text[len(told) :] for text in _written(arguments) if text.startswith(told)), "")


def _is_json_of(text: str, value: Any) -> bool:
    try:
        return bool(orjson.loads(text or "{}") == value)
    except orjson.JSONDecodeError:
        return False


def _written(value: Any) -> Iterator[str]:
    yield orjson.dumps(value).decode()
    yield json.dumps(value)
    yield json.dumps(value, ensure_ascii=False)
