"""What a message brings, as content blocks: out of LangChain's messages and their pieces, or out of its own events."""

from collections.abc import Mapping
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage

from runs.engine.encode import message_fields
from runs.protocol.content import TEXTS, blocks_of

Block = dict[str, Any]


def slice_of(message: BaseMessage) -> list[Any]:
    """The content blocks of a message or of a piece of one."""
    content, fields = message.content, message.__dict__
    if isinstance(content, str) and not fields.get("tool_call_chunks") and not message.additional_kwargs:
        calls = (
            None
            if isinstance(message, AIMessageChunk)
            else fields.get("tool_calls") or fields.get("invalid_tool_calls")
        )
        if not calls:
            # As are most pieces of most messages.
            return [{"type": "text", "text": content}] if content else []
    try:
        blocks: list[Any] = list(message.content_blocks)
    except Exception:  # the code of others: translators of what providers answer
        return blocks_of(message_fields(message))
    if isinstance(message, AIMessageChunk) and message.tool_call_chunks:
        # Beside a text they come as calls, made of what there is of their arguments.
        calls_of = ("tool_call", "tool_call_chunk", "invalid_tool_call")
        return [*(block for block in blocks if block["type"] not in calls_of), *message.tool_call_chunks]
    if isinstance(message, AIMessage):
        blocks += _left_out(message, blocks)
    return blocks


def _left_out(message: AIMessage, blocks: list[Any]) -> list[Any]:
    """The calls that LangChain's blocks of a message lack."""
    there = {block.get("id") for block in blocks if block["type"] in ("tool_call", "invalid_tool_call")}
    calls = [{**call, "type": "tool_call"} for call in message.tool_calls if call["id"] not in there]
    return [*calls, *({**call, "type": "invalid_tool_call"} for call in message.invalid_tool_calls)]


class EventSlices:
    """Slices out of the content-block events that LangChain makes itself of one message."""

    def __init__(self) -> None:
        #: By number of the block, its type and what was told of its text or of its arguments.
        self._told: dict[int, tuple[str, str]] = {}

    def take(self, event: Mapping[str, Any]) -> list[Block]:
        index = event.get("index")
        if not isinstance(index, int):
            return []
        match event.get("event"):
            case "content-block-start":
                return self._start(index, event["content"])
            case "content-block-delta":
                return self._delta(index, event["delta"])
            case "content-block-finish":
                return self._finish(index, event["content"])
        return []

    def _start(self, index: int, content: Mapping[str, Any]) -> list[Block]:
        text = content.get(TEXTS.get(content["type"], "args"))
        self._told[index] = content["type"], text if isinstance(text, str) else ""
        return [{**content, "index": index}]

    def _delta(self, index: int, delta: Mapping[str, Any]) -> list[Block]:
        kind, told = self._told.get(index, ("", ""))
        match delta.get("type"):
            case "text-delta":
                return self._more(index, "text", "text", delta["text"])
            case "reasoning-delta":
                return self._more(index, "reasoning", "reasoning", delta["reasoning"])
            case "tool-call-delta":
                by_server = kind == "server_tool_call_chunk"
                return self._more(index, kind if by_server else "tool_call_chunk", "args", delta["args"])
            case "block-delta" if isinstance(args := delta["fields"].get("args"), str):
                self._told[index] = delta["fields"]["type"], args
                return [{**delta["fields"], "args": args[len(told) :], "index": index}]
        # Of others the end carries all.
        return []

    def _more(self, index: int, kind: str, field: str, text: str) -> list[Block]:
        self._told[index] = kind, self._told.get(index, ("", ""))[1] + text
        return [{"type": kind, field: text, "index": index}]

    def _finish(self, index: int, content: Mapping[str, Any]) -> list[Block]:
        field = TEXTS.get(content["type"])
        if field is None:
            return [{**content, "index": index}]
        _, told = self._told.get(index, ("", ""))
        text = content.get(field) or ""
        return [{**content, field: text[len(told) :] if text.startswith(told) else "", "index": index}]
