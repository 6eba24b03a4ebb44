"""The content of messages that are only there as JSON, as LangChain's standard content blocks."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

Block = dict[str, Any]

#: The blocks that come in pieces of text, and the field that holds it.
TEXTS = {"text": "text", "reasoning": "reasoning"}
#: Parts that say the same as the fields `tool_calls` and `tool_call_chunks` of their message.
_CALLS = frozenset(
    {"tool_use", "tool_call", "tool_call_chunk", "invalid_tool_call", "input_json_delta", "function_call"}
)
_STANDARD = frozenset(
    {
        *("text", "reasoning", "image", "audio", "video", "file", "non_standard"),
        *("server_tool_call", "server_tool_call_chunk", "server_tool_result"),
    }
)


def blocks_of(message: Mapping[str, Any]) -> list[Block]:
    """The blocks of a message, or of a piece of a streamed one."""
    content = message.get("content")
    parts = [content] if isinstance(content, str) else content if isinstance(content, list) else []
    blocks = [block for part in parts if (block := _block(part))]
    calls = list(_calls(message)) or [call for part in parts if (call := _call(part))]
    reasoning = _mapping(message.get("additional_kwargs")).get("reasoning_content")
    if isinstance(reasoning, str) and reasoning and not any(block["type"] == "reasoning" for block in blocks):
        blocks.insert(0, {"type": "reasoning", "reasoning": reasoning})
    return [*blocks, *calls]


def _calls(message: Mapping[str, Any]) -> Iterator[Block]:
    # Of a piece, `tool_calls` is only what could be made of its chunks.
    chunks = _mappings(message.get("tool_call_chunks"))
    if chunks:
        yield from ({**chunk, "type": "tool_call_chunk"} for chunk in chunks)
        return
    yield from ({**call, "type": "tool_call"} for call in _mappings(message.get("tool_calls")))
    yield from ({**call, "type": "invalid_tool_call"} for call in _mappings(message.get("invalid_tool_calls")))


def _block(part: Any) -> Block | None:
    """A part of a message's content; None for what is told elsewhere."""
    if isinstance(part, str):
        return {"type": "text", "text": part} if part else None
    if not isinstance(part, dict) or part.get("type") in _CALLS:
        return None
    match part.get("type"):
        case "thinking" | "reasoning" | "reasoning_content":
            return _reasoning(part)
        case "text" if not isinstance(part.get("text"), str):
            return None
        case "image_url":
            return _linked_image(part)
        case "image" | "document" if isinstance(part.get("source"), dict):
            return _sourced(part)
        case str(kind) if kind in _STANDARD:
            return dict(part)
    return _placed({"type": "non_standard", "value": part}, part)


def _reasoning(part: Mapping[str, Any]) -> Block:
    summary = "".join(str(piece.get("text") or "") for piece in _mappings(part.get("summary")))
    told = (part.get("reasoning"), part.get("thinking"), part.get("text"), summary)
    text = next((text for text in told if isinstance(text, str) and text), "")
    block: Block = {"type": "reasoning", "reasoning": text}
    extras = {**_mapping(part.get("extras"))}
    if part.get("signature"):
        extras["signature"] = part["signature"]
    if extras:
        block["extras"] = extras
    return _placed(block, part)


def _linked_image(part: Mapping[str, Any]) -> Block:
    link = part.get("image_url")
    url = link.get("url") if isinstance(link, dict) else link
    block: Block = {"type": "image"}
    if isinstance(url, str) and url.startswith("data:") and ";base64," in url:
        block["mime_type"], _, block["base64"] = url.removeprefix("data:").partition(";base64,")
    else:
        block["url"] = url if isinstance(url, str) else ""
    return _placed(block, part)


def _sourced(part: Mapping[str, Any]) -> Block:
    """An image or a document as Anthropic has them."""
    source = part["source"]
    block: Block = {"type": "image" if part["type"] == "image" else "file"}
    for key, name in (("url", "url"), ("data", "base64"), ("media_type", "mime_type"), ("file_id", "file_id")):
        if isinstance(source.get(key), str):
            block[name] = source[key]
    return _placed(block, part)


def _call(part: Any) -> Block | None:
    """A call that stands in the content alone."""
    if not isinstance(part, dict):
        return None
    match part.get("type"):
        case "tool_use":
            given = part.get("input")
            call: Block = {"id": part.get("id"), "name": part.get("name")}
            if isinstance(given, dict):
                return {"type": "tool_call", **call, "args": given}
            return _placed({"type": "tool_call_chunk", **call, "args": given if isinstance(given, str) else ""}, part)
        case "input_json_delta":
            return _placed({"type": "tool_call_chunk", "args": part.get("partial_json") or ""}, part)
        case "tool_call" if not isinstance(part.get("args"), dict):
            return {**part, "type": "tool_call_chunk", "args": _text(part.get("args"))}
        case "tool_call" | "tool_call_chunk" | "invalid_tool_call":
            return dict(part)
    return None


def _placed(block: Block, part: Mapping[str, Any]) -> Block:
    """With the place that tells pieces of one block from those of another."""
    return block if part.get("index") is None else {**block, "index": part["index"]}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode() if value else ""


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
