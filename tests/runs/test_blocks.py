"""Messages as content-block events, checked with what the Python SDK reads them with."""

from itertools import pairwise
from typing import Any

import pytest
from langchain_core.language_models.chat_model_stream import ChatModelStream
from langchain_core.messages import AIMessage, AIMessageChunk

from runs.protocol.blocks import MessageBlocks, whole
from runs.protocol.content import blocks_of

Slices = list[list[dict[str, Any]]]


def told(slices: Slices, **end: Any) -> list[dict[str, Any]]:
    message = MessageBlocks("m", {"provider": "fake", "model": "scripted", "langgraph_triggers": ["a"]})
    events = [event for blocks in slices for event in message.feed(blocks)]
    return [*events, *message.finish(**end)]


def read(events: list[dict[str, Any]]) -> ChatModelStream:
    stream = ChatModelStream()
    for event in events:
        stream.dispatch(event)
    return stream


def piece(args: str, index: int | None = None, id: str | None = None, name: str | None = None) -> dict[str, Any]:
    block = {"type": "tool_call_chunk", "id": id, "name": name, "args": args}
    return block if index is None else {**block, "index": index}


def text(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **more}


def contents(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the blocks are in the end, in the order of their numbers."""
    finishes = sorted((e["index"], e["content"]) for e in events if e["event"] == "content-block-finish")
    assert [index for index, _ in finishes] == list(range(len(finishes)))
    return [content for _, content in finishes]


def follow_each_other(events: list[dict[str, Any]]) -> bool:
    """Whether each block ends before the next one begins."""
    borders = [event["event"] for event in events if event["event"] in ("content-block-start", "content-block-finish")]
    return all(before != after for before, after in pairwise(borders))


def test_a_text_is_told_as_it_comes() -> None:
    events = told([[text("Hel")], [text("")], [text("lo")]], usage={"input_tokens": 1, "output_tokens": 2})
    assert events == [
        {"event": "message-start", "role": "ai", "id": "m", "metadata": {"provider": "fake", "model": "scripted"}},
        {"event": "content-block-start", "index": 0, "content": {"type": "text", "text": ""}},
        {"event": "content-block-delta", "index": 0, "delta": {"type": "text-delta", "text": "Hel"}},
        {"event": "content-block-delta", "index": 0, "delta": {"type": "text-delta", "text": "lo"}},
        {"event": "content-block-finish", "index": 0, "content": {"type": "text", "text": "Hello"}},
        {"event": "message-finish", "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}},
    ]


def test_clients_read_what_was_said() -> None:
    slices: Slices = [
        [{"type": "reasoning", "reasoning": "hm", "index": 0}],
        [{"type": "reasoning", "reasoning": "", "extras": {"signature": "s"}, "index": 0}],
        [text("An", index=1)],
        [text("swer", index=1)],
        [piece("", 2, id="c", name="look")],
        [piece('{"at":', 2), piece(' "it"}', 2)],
    ]
    events = told(slices, usage={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}, metadata={"stop": "end"})
    stream = read(events)
    assert (stream.message_id, stream.text.get(), stream.reasoning.get()) == ("m", "Answer", "hm")
    assert stream.tool_calls.get() == [{"type": "tool_call", "id": "c", "name": "look", "args": {"at": "it"}}]
    assert "".join(part["args"] for part in stream.tool_calls) == '{"at": "it"}'
    message = stream.output
    assert message.usage_metadata == {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    assert message.response_metadata["model_provider"] == "fake"
    assert message.response_metadata["stop"] == "end"
    assert contents(events)[0] == {"type": "reasoning", "reasoning": "hm", "extras": {"signature": "s"}}
    assert follow_each_other(events)


def test_the_arguments_of_a_call_are_told_as_all_that_has_come() -> None:
    events = told([[piece("", 0, id="c", name="look")], [piece('{"a"', 0)], [piece(": 1}", 0)]])
    assert [event["delta"]["fields"] for event in events if event["event"] == "content-block-delta"] == [
        {"type": "tool_call_chunk", "id": "c", "name": "look", "args": '{"a"'},
        {"type": "tool_call_chunk", "id": "c", "name": "look", "args": '{"a": 1}'},
    ]


def test_long_arguments_are_not_told_anew_with_every_piece() -> None:
    pieces = [piece("", 0, id="c", name="write"), piece('{"a": "', 0), *[piece("word", 0)] * 5000, piece('"}', 0)]
    events = told([[one] for one in pieces])
    size = sum(len(event["delta"]["fields"]["args"]) for event in events if "delta" in event)
    assert size < 50 * 20_000
    assert read(events).tool_calls.get()[0]["args"] == {"a": "word" * 5000}


@pytest.mark.parametrize("numbered", [True, False])
def test_calls_one_after_the_other_end_one_after_the_other(numbered: bool) -> None:
    one, two = (0, 1) if numbered else (None, None)
    slices = [[piece("{}", one, id="a", name="x")], [piece('{"b"', two, id="b", name="y")], [piece(":2}", two)]]
    events = told(slices)
    assert follow_each_other(events)
    assert [(call["id"], call["args"]) for call in read(events).tool_calls.get()] == [("a", {}), ("b", {"b": 2})]


def test_calls_whose_arguments_come_interleaved_are_right_in_the_end() -> None:
    slices = [
        [piece("", 0, id="a", name="x"), piece("", 1, id="b", name="y")],
        [piece('{"a":', 0), piece('{"b":', 1)],
        [piece("1}", 0), piece("2}", 1)],
        [text("and more")],
    ]
    events = told(slices)
    assert contents(events) == [
        {"type": "tool_call", "id": "a", "name": "x", "args": {"a": 1}},
        {"type": "tool_call", "id": "b", "name": "y", "args": {"b": 2}},
        {"type": "text", "text": "and more"},
    ]
    assert len(read(events).tool_calls.get()) == 2


def test_calls_that_share_a_number_are_told_apart_by_their_ids() -> None:
    events = told([[piece('{"a":1}', 0, id="a", name="x")], [piece('{"b":2}', 0, id="b", name="y")]])
    assert [call["id"] for call in contents(events)] == ["a", "b"]


def test_a_call_that_comes_again_as_a_whole_is_told_once() -> None:
    call = {"type": "tool_call", "id": "a", "name": "x", "args": {"a": 1}}
    assert contents(told([[piece('{"a":', 0, id="a", name="x")], [call], [call]])) == [call]


@pytest.mark.parametrize("args", ['{"a":', "[1]", "nonsense"])
def test_arguments_that_are_no_object_make_an_invalid_call(args: str) -> None:
    (call,) = contents(events := told([[piece(args, 0, id="a", name="x")]]))
    assert (call["type"], call["id"], call["args"]) == ("invalid_tool_call", "a", args)
    assert read(events).tool_calls.get() == []


def test_a_call_without_arguments_has_none() -> None:
    assert contents(told([[piece("", 0, id="a", name="x")]]))[0]["args"] == {}


def test_another_kind_or_number_is_another_block() -> None:
    slices: Slices = [
        [{"type": "reasoning", "reasoning": "a"}],
        [text("b")],
        [text("c", index=1)],
        [text("d", index=2)],
    ]
    events = told(slices)
    assert [block["type"] for block in contents(events)] == ["reasoning", "text", "text"]
    assert follow_each_other(events)


def test_what_is_told_besides_a_text_adds_up() -> None:
    slices: Slices = [
        [text("a", annotations=[{"type": "citation"}])],
        [text("b", annotations=[{"type": "other"}], id="t")],
    ]
    (block,) = contents(told(slices))
    assert block["annotations"] == [{"type": "citation"}, {"type": "other"}]


def test_pictures_are_sent_once() -> None:
    image = {"type": "image", "mime_type": "image/png", "base64": "QUJD"}
    events = told([[image]])
    assert events[1]["content"] == {"type": "image", "mime_type": "image/png"}
    assert contents(events) == [image]


def test_a_message_without_anything_begins_and_ends() -> None:
    assert [event["event"] for event in told([])] == ["message-start", "message-finish"]


def test_a_message_that_fails_says_so() -> None:
    message = MessageBlocks("m")
    message.feed([text("a")])
    (event,) = message.fail("lost")
    assert event == {"event": "error", "message": "lost"}


def test_a_whole_message_is_told_block_by_block() -> None:
    blocks = [text("a"), text("b"), {"type": "tool_call", "id": "c", "name": "x", "args": {"a": 1}}]
    events = whole("m", blocks, usage={"input_tokens": 1})
    assert follow_each_other(events)
    assert contents(events) == blocks
    stream = read(events)
    assert stream.text.get() == "ab"
    assert stream.output.usage_metadata == {"input_tokens": 1, "output_tokens": 0, "total_tokens": 1}


def dumped(message: AIMessage) -> dict[str, Any]:
    return message.model_dump()


@pytest.mark.parametrize(
    ("message", "blocks"),
    [
        (AIMessage("hi"), [text("hi")]),
        (AIMessage(""), []),
        (AIMessage(["a", text("b", index=3)]), [text("a"), text("b", index=3)]),
        (
            AIMessage([{"type": "thinking", "thinking": "hm", "signature": "s", "index": 0}]),
            [{"type": "reasoning", "reasoning": "hm", "extras": {"signature": "s"}, "index": 0}],
        ),
        (
            AIMessage("hi", additional_kwargs={"reasoning_content": "hm"}),
            [{"type": "reasoning", "reasoning": "hm"}, text("hi")],
        ),
        (
            AIMessage([{"type": "reasoning", "summary": [{"text": "a"}, {"text": "b"}]}]),
            [{"type": "reasoning", "reasoning": "ab"}],
        ),
        (
            AIMessage([{"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}]),
            [{"type": "image", "mime_type": "image/png", "base64": "QUJD"}],
        ),
        (
            AIMessage([{"type": "image", "source": {"type": "url", "url": "x://y"}}]),
            [{"type": "image", "url": "x://y"}],
        ),
        (AIMessage([{"type": "odd", "x": 1}]), [{"type": "non_standard", "value": {"type": "odd", "x": 1}}]),
        (
            AIMessage(
                [{"type": "tool_use", "id": "c", "name": "x", "input": {"a": 1}}],
                tool_calls=[{"id": "c", "name": "x", "args": {"a": 1}}],
            ),
            [{"type": "tool_call", "id": "c", "name": "x", "args": {"a": 1}}],
        ),
        (
            AIMessage([{"type": "tool_use", "id": "c", "name": "x", "input": {"a": 1}}]),
            [{"type": "tool_call", "id": "c", "name": "x", "args": {"a": 1}}],
        ),
        (
            AIMessageChunk(content="hi", tool_call_chunks=[{"id": "c", "name": "x", "args": '{"a"', "index": 0}]),
            [text("hi"), {"type": "tool_call_chunk", "id": "c", "name": "x", "args": '{"a"', "index": 0}],
        ),
        (
            AIMessage("", invalid_tool_calls=[{"id": "c", "name": "x", "args": "{", "error": "bad"}]),
            [{"type": "invalid_tool_call", "id": "c", "name": "x", "args": "{", "error": "bad"}],
        ),
    ],
)
def test_the_content_of_a_message_in_json_is_blocks(message: AIMessage, blocks: list[dict[str, Any]]) -> None:
    assert blocks_of(dumped(message)) == blocks


@pytest.mark.parametrize("content", [None, 3, [None, 3, {}], {"type": "text"}, [{"type": "text"}], [{"type": 3}]])
def test_content_that_is_none_does_no_harm(content: Any) -> None:
    assert all(block["type"] == "non_standard" for block in blocks_of({"content": content, "tool_calls": 3}))
