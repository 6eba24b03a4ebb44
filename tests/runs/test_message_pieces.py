"""Runs of the Agent Streaming Protocol, as readers of the classic stream see them."""

import re
from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessageChunk

from runs.protocol.blocks import MessageBlocks, whole
from runs.protocol.classic import STREAM_MODES, ClassicStream
from runs.protocol.thread_stream import ThreadStream
from runs.records import Record
from tests.runs.protocol_records import chunks, ends, native, record

FRAME = re.compile(r"event: ([^\r\n]*)\r\ndata: ([^\r\n]*)\r\nid: (\d+)\r\n\r\n")
ABOUT = {"langgraph_node": "model", "langgraph_step": 1}
USAGE = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}

Slices = list[list[dict[str, Any]]]


def frames(emitted: Sequence[Record], *modes: str, after: int = 0) -> list[tuple[str, Any, int]]:
    """Event, data and id of each frame; nothing stands between them."""
    stream = ClassicStream(modes, after, in_blocks=True)
    output = b"".join(map(stream.render, chunks(emitted))).decode()
    assert FRAME.sub("", output) == ""
    return [(name, orjson.loads(data), int(seq)) for name, data, seq in FRAME.findall(output)]


def blocks(events: Sequence[dict[str, Any]], namespace: Sequence[str] = ()) -> list[Record]:
    return [record("block", event, namespace) for event in events]


def streamed(slices: Slices, message_id: str = "m", **end: Any) -> list[dict[str, Any]]:
    message = MessageBlocks(message_id, ABOUT)
    return [*(event for slice in slices for event in message.feed(slice)), *message.finish(**end)]


def total(events: Sequence[dict[str, Any]]) -> AIMessageChunk:
    """What the pieces of a message add up to."""
    return reduce(add, [AIMessageChunk(**piece) for _, (piece, _), _ in frames(blocks(events), "messages-tuple")])


def text(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **more}


def thought(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "reasoning", "reasoning": text, **more}


def call(args: str, index: int, id: str | None = None, name: str | None = None) -> dict[str, Any]:
    return {"type": "tool_call_chunk", "id": id, "name": name, "args": args, "index": index}


def told(message: AIMessageChunk, kind: str) -> list[str]:
    """The texts of the blocks of a kind, in order."""
    parts = [message.content] if isinstance(message.content, str) else message.content
    found = [text(part) if isinstance(part, str) else part for part in parts]
    return [part[kind] for part in found if part["type"] == kind and part[kind]]


words = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=3), min_size=1, max_size=3)
objects = st.dictionaries(st.text(max_size=3), st.integers(0, 9) | st.text(max_size=9), max_size=2)


@given(
    st.lists(st.tuples(st.sampled_from(["text", "reasoning"]), words), max_size=4),
    st.lists(st.tuples(objects, st.integers(1, 9)), max_size=3),
)
def test_the_pieces_of_a_message_add_up_to_it(
    spoken: list[tuple[str, list[str]]], called: list[tuple[dict[str, Any], int]]
) -> None:
    slices: Slices = [
        [{"type": kind, kind: word, "index": index}] for index, (kind, said) in enumerate(spoken) for word in said
    ]
    for index, (arguments, cut) in enumerate(called, start=len(spoken)):
        written = orjson.dumps(arguments).decode()
        slices += [[call("", index, f"c{index}", "look")], [call(written[:cut], index)], [call(written[cut:], index)]]
    message = total(streamed(slices, usage=USAGE, metadata={"stop": "end"}))
    for kind in ("text", "reasoning"):
        assert told(message, kind) == ["".join(said) for it, said in spoken if it == kind]
    assert [(one["id"], one["name"], one["args"]) for one in message.tool_calls] == [
        (f"c{index}", "look", arguments) for index, (arguments, _) in enumerate(called, start=len(spoken))
    ]
    assert (message.id, message.usage_metadata, message.response_metadata) == ("m", USAGE, {"stop": "end"})
    assert message.chunk_position == "last"


def test_a_message_of_text_is_told_as_text() -> None:
    events = blocks(streamed([[text("Hel")], [text("lo")]], usage=USAGE), ["child:1"])
    shown = frames(events, "messages-tuple")
    piece = {
        "content": "Hel",
        "additional_kwargs": {},
        "response_metadata": {},
        "type": "AIMessageChunk",
        "name": None,
        "id": "m",
        "tool_calls": [],
        "invalid_tool_calls": [],
        "usage_metadata": None,
        "tool_call_chunks": [],
        "chunk_position": None,
    }
    last = {**piece, "content": "", "usage_metadata": USAGE, "chunk_position": "last"}
    assert shown == [
        ("messages|child:1", [piece, ABOUT], 3),
        ("messages|child:1", [{**piece, "content": "lo"}, ABOUT], 4),
        ("messages|child:1", [last, ABOUT], 6),
    ]
    assert list(shown[0][1][0]) == list(piece)


def test_the_arguments_of_a_call_are_told_as_they_grow() -> None:
    events = streamed([[call("", 5, "c", "look")], [call('{"a"', 5)], [call(": 1}", 5)]])
    shown = [piece["tool_call_chunks"] for _, (piece, _), _ in frames(blocks(events), "messages-tuple")]
    assert shown == [
        [{"id": "c", "name": "look", "args": "", "index": 0, "type": "tool_call_chunk"}],
        [{"id": None, "name": None, "args": '{"a"', "index": 0, "type": "tool_call_chunk"}],
        [{"id": None, "name": None, "args": ": 1}", "index": 0, "type": "tool_call_chunk"}],
        [],
    ]


def test_a_name_that_comes_late_is_told_once() -> None:
    message = total(streamed([[call("{", 0)], [call("", 0, "c", "look")], [call("}", 0)]]))
    assert message.tool_calls == [{"id": "c", "name": "look", "args": {}, "type": "tool_call"}]


@pytest.mark.parametrize("space", ["", " "])
def test_long_arguments_are_whole_though_not_every_piece_is_told(space: str) -> None:
    pieces = [call(f'{{"a":{space}"', 0, "c", "write"), *[call("wörd", 0)] * 500, call('"}', 0)]
    message = total(streamed([[piece] for piece in pieces]))
    assert message.tool_calls[0]["args"] == {"a": "wörd" * 500}


def test_an_invalid_call_stays_one() -> None:
    message = total(streamed([[call('["a', 0, "c", "look")], [call("b", 0)]]))
    assert message.tool_calls == []
    assert [(one["id"], one["args"]) for one in message.invalid_tool_calls] == [("c", '["ab')]


@pytest.mark.parametrize("arguments", [{}, {"a": 1}])
def test_a_call_that_comes_whole_is_told(arguments: dict[str, Any]) -> None:
    message = total(whole("m", [text("See"), {"type": "tool_call", "id": "c", "name": "look", "args": arguments}]))
    assert message.content == "See"
    assert message.tool_calls == [{"id": "c", "name": "look", "args": arguments, "type": "tool_call"}]


def test_what_a_block_says_besides_its_text_and_whole_blocks_are_told() -> None:
    image = {"type": "image", "mime_type": "image/png", "base64": "QUJD"}
    slices: Slices = [[thought("h")], [thought("m", extras={"signature": "s"})], [text("See:")], [image]]
    assert total(streamed(slices)).content == [
        {"type": "reasoning", "reasoning": "hm", "extras": {"signature": "s"}, "index": 0},
        {"type": "text", "text": "See:", "index": 1},
        {**image, "index": 2},
    ]


def test_text_that_only_the_end_of_its_block_holds_is_told() -> None:
    events = [
        {"event": "message-start", "role": "ai", "id": "m"},
        {"event": "content-block-start", "index": 0, "content": text("a")},
        {"event": "content-block-delta", "index": 0, "delta": {"type": "text-delta", "text": "b"}},
        {"event": "content-block-finish", "index": 0, "content": text("abc")},
        {"event": "content-block-finish", "index": 1, "content": text("d")},
        {"event": "message-finish"},
    ]
    assert told(total(events), "text") == ["abc", "d"]


def test_whole_messages_grow() -> None:
    events = [*streamed([[text("Hel")], [text("lo")]], usage=USAGE), *streamed([[text("bye")]], "n")]
    shown = [(name, data) for name, data, _ in frames(blocks(events), "messages")]
    assert [name for name, _ in shown] == [
        *("messages/metadata", "messages/partial", "messages/partial", "messages/partial"),
        *("messages/metadata", "messages/partial", "messages/partial"),
    ]
    assert [shown[0][1], shown[4][1]] == [{"m": {"metadata": ABOUT}}, {"n": {"metadata": ABOUT}}]
    wholes = [data[0] for name, data in shown if name == "messages/partial"]
    assert [(one["id"], one["content"]) for one in wholes] == [
        ("m", "Hel"),
        ("m", "Hello"),
        ("m", "Hello"),
        ("n", "bye"),
        ("n", "bye"),
    ]
    assert [one["usage_metadata"] for one in wholes[1:3]] == [None, USAGE]


def test_a_reader_of_both_gets_the_piece_before_the_whole() -> None:
    shown = frames(blocks(streamed([[text("Hi")]])), "messages", "messages-tuple")
    assert [(name, seq) for name, _, seq in shown] == [
        ("messages/metadata", 1),
        ("messages", 3),
        ("messages/partial", 3),
        ("messages", 5),
        ("messages/partial", 5),
    ]


def test_messages_at_different_places_do_not_mix() -> None:
    one = blocks(streamed([[text("a")], [text("b")]], "m1"), ["x:1"])
    two = blocks(streamed([[text("c")], [text("d")]], "m2"), ["y:1"])
    both = [record for pair in zip(one, two, strict=True) for record in pair]
    shown = [(name, piece["id"], piece["content"]) for name, (piece, _), _ in frames(both, "messages-tuple")]
    assert [(id, content) for name, id, content in shown if name == "messages|x:1"] == [
        *(("m1", "a"), ("m1", "b"), ("m1", "")),
    ]
    assert [content for name, _, content in shown if name == "messages|y:1"] == ["c", "d", ""]


def test_a_message_that_fails_and_one_whose_beginning_is_gone_are_no_news() -> None:
    message = MessageBlocks("m")
    failed = [*message.feed([text("a")]), *message.fail("cut")]
    lost = streamed([[text("b")]])[1:]
    assert [data[0]["content"] for _, data, _ in frames(blocks([*failed, *lost]), "messages-tuple")] == ["a"]


@given(st.lists(native, max_size=12), ends, st.integers(0, 14), st.sets(st.sampled_from(sorted(STREAM_MODES))))
def test_what_follows_a_cursor_is_the_rest_of_the_whole(
    emitted: list[Record], end: Record, after: int, modes: set[str]
) -> None:
    everything = frames([*emitted, end], *modes)
    assert frames([*emitted, end], *modes, after=after) == [frame for frame in everything if frame[2] > after]


def test_messages_in_blocks_need_the_events_before_the_cursor() -> None:
    assert ClassicStream(["messages-tuple"], in_blocks=True).needs_history
    assert not ClassicStream(["messages-tuple"]).needs_history
    assert not ClassicStream(sorted(STREAM_MODES - {"messages", "messages-tuple"}), in_blocks=True).needs_history


def test_a_checkpoint_is_told_by_its_config() -> None:
    emitted = [
        record("checkpoint", {"id": "c1", "step": -1, "source": "input"}),
        record("checkpoint", {"id": "c2", "parent_id": "c1", "step": 0, "source": "loop"}, ["a:1", "b:2"]),
    ]
    root, deep = {"thread_id": "thread", "checkpoint_ns": ""}, {"thread_id": "thread", "checkpoint_ns": "a:1|b:2"}
    assert frames(emitted, "checkpoints") == [
        (
            "checkpoints",
            {
                "config": {"configurable": {**root, "checkpoint_id": "c1"}},
                "parent_config": None,
                "metadata": {"source": "input", "step": -1},
            },
            1,
        ),
        (
            "checkpoints|a:1|b:2",
            {
                "config": {"configurable": {**deep, "checkpoint_id": "c2"}},
                "parent_config": {"configurable": {**deep, "checkpoint_id": "c1"}},
                "metadata": {"source": "loop", "step": 0},
            },
            2,
        ),
    ]


def test_what_classic_readers_know_nothing_of_is_not_told() -> None:
    emitted = [record(method, {}) for method in ("tool", "lifecycle", "custom:a", "input.requested")]
    assert frames(emitted, *STREAM_MODES) == []


def test_the_beginning_of_a_run_names_no_graph() -> None:
    data = {"run_id": "r", "thread_id": "t", "attempt": 1}
    stream = ClassicStream([])
    (chunk,) = chunks([record("metadata", {**data, "graph_id": "g"})])
    assert stream.render(chunk) == b"event: metadata\r\ndata: %b\r\nid: 1\r\n\r\n" % orjson.dumps(data)
    (older,) = chunks([record("metadata", data)])
    assert ThreadStream([], 0).render(older) == stream.render(chunk)
