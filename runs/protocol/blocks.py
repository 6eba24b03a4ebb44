"""A message as content-block events, as the Agent Streaming Protocol tells it.

`message-start`, then for each block of its content a start, deltas and a finish, then `message-finish`. A block is
finished before the next one starts, but for calls of tools whose arguments come interleaved: such a call stays open
until its arguments are whole, since no client takes up a block again that was finished.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from runs.protocol.content import TEXTS

Block = dict[str, Any]
Event = dict[str, Any]

#: The blocks that come in pieces of JSON, and what they are once they are whole.
_PIECES = {"tool_call_chunk": "tool_call", "server_tool_call_chunk": "server_tool_call"}
_CALLS = {**_PIECES, **{whole: whole for whole in _PIECES.values()}, "invalid_tool_call": "tool_call"}
#: What only the end of a block carries, so that it is not sent twice; and what stands for it where it is required.
_HEAVY = frozenset({"args", "base64", "data", "output", "value"})
_EMPTY = {"tool_call": "args", "server_tool_call": "args", "non_standard": "value"}
#: Arguments are told anew, as a whole, each time that they have grown by this part: long ones not with every piece.
_GROWTH = 32


class MessageBlocks:
    """The events of one message, from slices of it or from all of it.

    A slice is a list of LangChain's standard content blocks: of a streamed message what has come since the last one.
    """

    def __init__(self, message_id: str, metadata: Mapping[str, Any] | None = None, role: str = "ai") -> None:
        self._start: Event = {"event": "message-start", "role": role, "id": message_id}
        if scalars := {key: value for key, value in (metadata or {}).items() if _is_scalar(value)}:
            self._start["metadata"] = scalars
        self.started = False
        self._next = 0
        self._open: list[_Block] = []
        #: Every call of a tool, open or not.
        self._calls: list[_Block] = []

    def feed(self, blocks: Sequence[Mapping[str, Any]]) -> list[Event]:
        """The events of the next slice."""
        if len(self._open) == 1 and len(blocks) == 1 and (delta := self._open[0].go_on(blocks[0])):
            return [delta]
        events = self._begin()
        for block in blocks:
            events += self._take(block)
        return events

    def finish(self, usage: Mapping[str, Any] | None = None, metadata: Mapping[str, Any] | None = None) -> list[Event]:
        """The events that end the message."""
        events = [*self._begin(), *(block.finish() for block in self._open)]
        self._open = []
        end: Event = {"event": "message-finish"}
        if usage:
            # Clients take it for granted that all three are there.
            counts = {"input_tokens": usage.get("input_tokens") or 0, "output_tokens": usage.get("output_tokens") or 0}
            end["usage"] = {"total_tokens": sum(counts.values()), **usage, **counts}
        if metadata:
            end["metadata"] = dict(metadata)
        return [*events, end]

    def fail(self, message: str) -> list[Event]:
        """The events that end a message of which no more will come."""
        return [*self._begin(), {"event": "error", "message": message}]

    def _begin(self) -> list[Event]:
        if self.started:
            return []
        self.started = True
        return [self._start]

    def _take(self, block: Mapping[str, Any]) -> list[Event]:
        if _says_nothing(block):
            return []
        known = self._known(block)
        if known and known.finished:
            return []
        events = self._finish_others(known)
        if known is None:
            known = self._add(block)
            events.append(known.start())
        return [*events, *known.take(block)]

    def _known(self, block: Mapping[str, Any]) -> "_Block | None":
        """The block that this is a piece of."""
        known = self._calls if block["type"] in _CALLS else self._open
        return next((one for one in reversed(known) if one.goes_on_with(block)), None)

    def _finish_others(self, kept: "_Block | None") -> list[Event]:
        if not self._open or self._open == [kept]:
            return []
        over = [block for block in self._open if block is not kept and block.is_whole()]
        self._open = [block for block in self._open if block not in over]
        return [block.finish() for block in over]

    def _add(self, block: Mapping[str, Any]) -> "_Block":
        added = _Block(self._next, block)
        self._next += 1
        self._open.append(added)
        if block["type"] in _CALLS:
            self._calls.append(added)
        return added


def whole(
    message_id: str,
    blocks: Iterable[Mapping[str, Any]],
    *,
    role: str = "ai",
    metadata: Mapping[str, Any] | None = None,
    usage: Mapping[str, Any] | None = None,
    about: Mapping[str, Any] | None = None,
) -> list[Event]:
    """All events of a message that is there as a whole; `metadata` opens it, `usage` and `about` close it."""
    message = MessageBlocks(message_id, metadata, role)
    # Each block is one of its own, however alike.
    return [
        *message.feed([{**block, "index": index} for index, block in enumerate(blocks)]),
        *message.finish(usage, about),
    ]


class _Block:
    """One block, with all that has come of it."""

    def __init__(self, index: int, first: Mapping[str, Any]) -> None:
        self.finished = False
        self._index = index
        self._type: str = first["type"]
        self._place = first.get("index")
        self._content: Block = {key: value for key, value in first.items() if key != "index"}
        if field := TEXTS.get(self._type):
            self._content[field] = ""
        elif self._type in _PIECES:
            self._content = {"id": None, "name": None, **self._content, "args": ""}
        #: What has come of a text.
        self._text: list[str] = []
        self._told = 0

    def goes_on_with(self, block: Mapping[str, Any]) -> bool:
        kind, place = block["type"], block.get("index")
        if kind in _CALLS:
            return self._is_call(_CALLS[kind], block, place)
        if kind != self._type:
            return False
        if kind in TEXTS:
            return place is None or self._place is None or place == self._place
        return place is not None and place == self._place

    def _is_call(self, family: str, block: Mapping[str, Any], place: Any) -> bool:
        if _CALLS.get(self._type) != family:
            return False
        mine, its = self._content.get("id"), block.get("id")
        if its and mine:
            return bool(its == mine)
        if place is not None:
            return bool(place == self._place)
        # A piece that names nothing belongs to what came last.
        return not its and not (block.get("name") and self._content.get("name"))

    def is_whole(self) -> bool:
        """Whether no more can come of it."""
        return self._type not in _PIECES or _arguments(self._content["args"]) is not None

    def start(self) -> Event:
        content = {key: value for key, value in self._content.items() if key not in _HEAVY}
        if self._type in _PIECES:
            content["args"] = ""
        elif self._type in _EMPTY:
            content[_EMPTY[self._type]] = {}
        elif self._type in TEXTS:
            content.pop("annotations", None)
        return {"event": "content-block-start", "index": self._index, "content": content}

    def take(self, block: Mapping[str, Any]) -> list[Event]:
        if field := TEXTS.get(self._type):
            return self._take_text(field, block)
        if self._type in _PIECES and block["type"] in _PIECES:
            return self._take_arguments(block)
        # What comes as a whole; of a call that has come in pieces it is the last word.
        self._type = block["type"]
        self._content = {key: value for key, value in block.items() if key != "index"}
        return []

    def go_on(self, block: Mapping[str, Any]) -> Event | None:
        """The event of a piece of plain text that goes on with this one; None for anything else.

        So are most pieces of most messages.
        """
        if self._type != "text" or block["type"] != "text" or len(block) != 2:
            return None
        text = block["text"]
        self._text.append(text)
        return self._delta({"type": "text-delta", "text": text}) if text else None

    def _take_text(self, field: str, block: Mapping[str, Any]) -> list[Event]:
        text = block.get(field) or ""
        self._text.append(text)
        if len(block) > 2:
            self._place = block.get("index") if self._place is None else self._place
            self._add_extras(block, field)
        return [self._delta({"type": f"{self._type}-delta", field: text})] if text else []

    def _take_arguments(self, block: Mapping[str, Any]) -> list[Event]:
        content = self._content
        content["id"], content["name"] = content["id"] or block.get("id"), content["name"] or block.get("name")
        content["args"] += block.get("args") or ""
        self._add_extras(block, "args")
        size = len(content["args"])
        if size == self._told or size - self._told < size // _GROWTH:
            return []
        self._told = size
        fields = {key: content[key] for key in ("type", "id", "name", "args")}
        return [self._delta({"type": "block-delta", "fields": fields})]

    def _add_extras(self, block: Mapping[str, Any], field: str) -> None:
        """What comes beside the text: lists and objects add up, of others the last counts."""
        for key, value in block.items():
            if key in ("type", "index", "id", "name", field) or value is None:
                continue
            known = self._content.get(key)
            if isinstance(value, dict) and isinstance(known, dict):
                self._content[key] = {**known, **value}
            elif isinstance(value, list) and isinstance(known, list) and known is not value:
                self._content[key] = [*known, *value]
            else:
                self._content[key] = value

    def _delta(self, delta: Event) -> Event:
        return {"event": "content-block-delta", "index": self._index, "delta": delta}

    def finish(self) -> Event:
        self.finished = True
        content = self._content
        if field := TEXTS.get(self._type):
            content[field] = "".join(self._text)
        elif self._type in _PIECES:
            content = _whole_call(_PIECES[self._type], content)
        return {"event": "content-block-finish", "index": self._index, "content": content}


def made_by(response: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    """Whose model has made a message, by the names that clients know.

    `response`: what the model says of it; `about`: what LangGraph does.
    """
    names = {
        "provider": response.get("model_provider") or about.get("ls_provider"),
        "model": response.get("model_name") or about.get("ls_model_name"),
    }
    return {key: name for key, name in names.items() if name}


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | bool | int | float)


def _says_nothing(block: Mapping[str, Any]) -> bool:
    """Whether a block brings no text and nothing else: many models begin or end with such."""
    field = TEXTS.get(block["type"])
    return field is not None and not block.get(field) and not (block.keys() - {"type", "index", "id", field})


def _arguments(text: str) -> dict[str, Any] | None:
    """The arguments that this is the JSON of; None while it is none."""
    try:
        arguments = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return arguments if isinstance(arguments, dict) else None


def _whole_call(kind: str, content: Block) -> Block:
    arguments = _arguments(content["args"] or "{}")
    if arguments is None:
        error = "The arguments are no JSON object."
        return {**content, "type": "invalid_tool_call", "error": error}
    return {**content, "type": kind, "name": content["name"] or "", "args": arguments}
