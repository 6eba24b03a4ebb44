"""Content blocks out of messages, of pieces of them, and of events that LangChain makes itself."""

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.language_models.chat_model_stream import ChatModelStream
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.messages.block_translators import register_translator

from runs.engine.slices import EventSlices, slice_of
from runs.protocol.blocks import MessageBlocks

CHUNK: Any = {"type": "tool_call_chunk", "id": "c", "name": "x", "args": '{"a"', "index": 0}
CALL: Any = {"type": "tool_call", "id": "c", "name": "x", "args": {"a": 1}}
INVALID: Any = {"type": "invalid_tool_call", "id": "d", "name": "x", "args": "{", "error": "bad"}


def text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


@pytest.mark.parametrize(
    ("message", "blocks"),
    [
        (AIMessageChunk(content="hi"), [text("hi")]),
        (AIMessageChunk(content=""), []),
        (AIMessage("hi", tool_calls=[CALL]), [text("hi"), CALL]),
        (AIMessage("", tool_calls=[{**CALL, "id": None}]), [{**CALL, "id": None}]),
        (AIMessage("", invalid_tool_calls=[INVALID]), [INVALID]),
        (AIMessageChunk(content="", tool_call_chunks=[CHUNK]), [CHUNK]),
        (AIMessageChunk(content="hi", tool_call_chunks=[CHUNK]), [text("hi"), CHUNK]),
        (
            AIMessageChunk(content="", additional_kwargs={"reasoning_content": "hm"}),
            [{"type": "reasoning", "reasoning": "hm"}],
        ),
        (HumanMessage("hi"), [text("hi")]),
    ],
)
def test_a_message_is_its_blocks(message: BaseMessage, blocks: list[Any]) -> None:
    assert slice_of(message) == blocks


@pytest.fixture
def broken_provider() -> Iterator[str]:
    def fail(message: Any) -> Any:
        raise KeyError("what the provider has changed")

    register_translator("broken", fail, fail)
    yield "broken"


def test_a_message_that_its_provider_can_not_read_is_read_as_it_is(broken_provider: str) -> None:
    about = {"model_provider": broken_provider}
    message = AIMessage([{"type": "thinking", "thinking": "hm"}, "hi"], response_metadata=about)
    assert slice_of(message) == [{"type": "reasoning", "reasoning": "hm"}, text("hi")]


def start(index: int, content: dict[str, Any]) -> dict[str, Any]:
    return {"event": "content-block-start", "index": index, "content": content}


def delta(index: int, **delta: Any) -> dict[str, Any]:
    return {"event": "content-block-delta", "index": index, "delta": delta}


def finish(index: int, content: dict[str, Any]) -> dict[str, Any]:
    return {"event": "content-block-finish", "index": index, "content": content}


def read(events: list[dict[str, Any]]) -> ChatModelStream:
    slices, message, stream = EventSlices(), MessageBlocks("m"), ChatModelStream()
    for event in events:
        for one in message.feed(slices.take(event)):
            stream.dispatch(one)
    for one in message.finish():
        stream.dispatch(one)
    return stream


def test_events_of_a_text_are_its_slices() -> None:
    deltas = [delta(0, type="text-delta", text=part) for part in "ab"]
    stream = read([start(0, text("")), *deltas, finish(0, {**text("ab!"), "annotations": [{"type": "citation"}]})])
    assert list(stream.text) == ["a", "b", "!"]
    assert isinstance(stream.output.content[0], dict)
    assert stream.output.content[0]["annotations"] == [{"type": "citation"}]


@pytest.mark.parametrize(
    "deltas",
    [
        [delta(0, type="tool-call-delta", args='{"a"'), delta(0, type="tool-call-delta", args=":1}")],
        [delta(0, type="block-delta", fields={**CHUNK, "args": args}) for args in ('{"a"', '{"a":1}')],
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_arguments_of_a_call_add_up_however_they_come(deltas: list[dict[str, Any]], finished: bool) -> None:
    stream = read([start(0, {**CHUNK, "args": ""}), *deltas, *([finish(0, CALL)] if finished else [])])
    assert stream.tool_calls.get() == [CALL]
    assert "".join(part["args"] for part in stream.tool_calls) == '{"a":1}'


def test_blocks_that_end_late_end_in_time() -> None:
    thought = [start(0, {"type": "reasoning", "reasoning": ""}), delta(0, type="reasoning-delta", reasoning="hm")]
    said = [start(1, text("")), delta(1, type="text-delta", text="hi")]
    stream = read([*thought, *said, finish(0, {"type": "reasoning", "reasoning": "hm"}), finish(1, text("hi"))])
    assert (stream.reasoning.get(), stream.text.get()) == ("hm", "hi")
    assert [block["type"] for block in stream.output.content if isinstance(block, dict)] == ["reasoning", "text"]


def test_a_picture_comes_with_its_end() -> None:
    image = {"type": "image", "base64": "QUJD", "mime_type": "image/png"}
    stream = read([start(0, {"type": "image"}), delta(0, type="data-delta", data="QUJD"), finish(0, image)])
    assert stream.output.content == [{**image, "index": 0}]


@pytest.mark.parametrize("event", [{"event": "other"}, {"event": "content-block-delta"}, delta(0, type="unknown")])
def test_an_event_that_brings_nothing_is_no_slice(event: dict[str, Any]) -> None:
    assert EventSlices().take(event) == []
