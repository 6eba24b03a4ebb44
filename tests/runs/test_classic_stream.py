"""The classic rendering: one frame for each record that a reader wants, and the rest for whoever comes back."""

import re
from collections.abc import Sequence

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessageChunk, message_chunk_to_message

from runs.engine.encode import encode, message_fields
from runs.protocol.classic import STREAM_MODES, ClassicStream
from runs.records import Chunk, Record, pack, record

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
names = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\r\n\0\x0b\x85\u2028|: "), max_size=12)
namespaces = st.lists(text, max_size=2)
#: A frame of a record, by the rules of Server-Sent Events.
FRAME = re.compile(rb"event: ([^\r\n]*)\r\ndata: ([^\r\n]*)\r\nid: (\d+)\r\n\r\n")


@st.composite
def pieces(draw: st.DrawFn) -> AIMessageChunk:
    """A piece of one of two messages, as a model streams it."""
    return AIMessageChunk(
        content=draw(text),
        id=draw(st.sampled_from(["run--a", "run--b"])),
        tool_call_chunks=draw(
            st.lists(
                st.builds(
                    lambda name, args, index: {"name": name, "args": args, "id": None, "index": index},
                    st.none() | text,
                    st.none() | st.sampled_from(['{"a":', "1}", "{}", "[", "x"]),
                    st.integers(0, 1),
                ),
                max_size=2,
            )
        ),
        usage_metadata=draw(st.none() | st.just({"input_tokens": 1, "output_tokens": 2, "total_tokens": 3})),
        response_metadata=draw(st.sampled_from([{}, {"model_name": "m"}])),
    )


def partial(piece: AIMessageChunk) -> Record:
    return Record("messages/partial", b"[%b]" % encode(message_fields(piece)), (), 1)


def whole(seen: Sequence[AIMessageChunk]) -> object:
    """What langchain makes of these pieces."""
    first, *others = seen
    for piece in others:
        first = first + piece
    return message_chunk_to_message(first).model_dump()


records = st.one_of(
    pieces().map(partial),
    st.builds(
        record,
        st.sampled_from(["values", "updates", "messages", "messages/metadata", "custom", "debug", "input.requested"]),
        st.lists(text, max_size=2),
        namespaces,
    ),
)
cuttings = st.lists(st.integers(1, 4), max_size=8)


def chunks(emitted: Sequence[Record], sizes: Sequence[int] = (), first_seq: int = 1) -> list[Chunk]:
    """These records, committed in pieces of these sizes."""
    made, left = [], list(emitted)
    for size in [*sizes, len(left)]:
        taken, left = left[:size], left[size:]
        if taken:
            made.append(Chunk("thread", "run", first_seq, first_seq + len(taken) - 1, pack(taken)))
            first_seq += len(taken)
    return made


def rendered(stream: ClassicStream, emitted: Sequence[Chunk]) -> bytes:
    return b"".join(map(stream.render, emitted))


def frames(output: bytes) -> list[tuple[str, object, int]]:
    """Event, data and id of each frame; nothing stands between them."""
    assert FRAME.sub(b"", output) == b""
    return [(name.decode(), orjson.loads(data), int(seq)) for name, data, seq in FRAME.findall(output)]


def test_a_frame_is_an_event_its_data_and_its_number() -> None:
    (chunk,) = chunks([record("updates", {"a": "ü\n"}, ["child:1", "leaf:2"]), record("custom")], first_seq=7)
    assert (
        ClassicStream(["updates", "custom"]).render(chunk)
        == (
            'event: updates|child:1|leaf:2\r\ndata: {"a":"ü\\n"}\r\nid: 7\r\n\r\n'
            "event: custom\r\ndata: null\r\nid: 8\r\n\r\n"
        ).encode()
    )


@given(
    st.lists(records, max_size=12),
    cuttings,
    cuttings,
    st.integers(0, 12),
    st.sets(st.sampled_from(sorted(STREAM_MODES))),
)
def test_what_follows_a_cursor_is_the_rest_of_the_whole(
    emitted: list[Record], sizes: list[int], other_sizes: list[int], after: int, modes: set[str]
) -> None:
    emitted = [*emitted, record("end", {"status": "success"})]
    everything = rendered(ClassicStream(modes), chunks(emitted, sizes))
    stream = ClassicStream(modes, after)
    kept = [chunk for chunk in chunks(emitted, other_sizes) if stream.needs_history or chunk.last_seq > after]
    rest = rendered(stream, kept)
    assert everything.endswith(rest)
    assert [seq for *_, seq in frames(rest)] == [seq for *_, seq in frames(everything) if seq > after]


@given(st.lists(pieces(), min_size=1, max_size=8), cuttings)
def test_partial_messages_add_up_as_langchain_adds_them(seen: list[AIMessageChunk], sizes: list[int]) -> None:
    output = rendered(ClassicStream(["messages"]), chunks([partial(piece) for piece in seen], sizes))
    expected = [
        [whole([piece for piece in seen[:count] if piece.id == seen[count - 1].id])]
        for count in range(1, len(seen) + 1)
    ]
    assert [data for _, data, _ in frames(output)] == expected


@given(st.lists(names, max_size=3))
def test_no_name_of_a_node_breaks_the_framing(namespace: list[str]) -> None:
    output = rendered(ClassicStream(["updates"]), chunks([record("updates", 1, namespace), record("updates", 2)]))
    assert [(data, seq) for _, data, seq in frames(output)] == [(1, 1), (2, 2)]
    # Clients also break lines where Unicode does.
    assert len(output.decode().splitlines()) == 8


@pytest.mark.parametrize(
    ("modes", "shown"),
    [
        ([], []),
        (["values"], ["values"]),
        (["updates"], ["updates", "updates|child"]),
        (["messages"], ["messages/metadata", "messages/partial", "messages/complete"]),
        (["messages-tuple"], ["messages"]),
        (["custom", "debug"], ["custom", "debug"]),
        (["tasks", "checkpoints", "events"], ["tasks", "checkpoints", "events"]),
    ],
)
def test_a_reader_gets_the_modes_it_asked_for_and_what_everybody_gets(modes: list[str], shown: list[str]) -> None:
    emitted = [record("metadata")]
    emitted += [record(method) for method in ("values", "updates", "messages", "custom", "debug", "tasks")]
    emitted += [record("updates", None, ["child"]), record("checkpoints"), record("events"), record("input.requested")]
    emitted += [record("messages/metadata"), partial(AIMessageChunk("a", id="1")), record("messages/complete")]
    emitted += [record("error"), record("cancel"), record("end", {"status": "error"})]
    names = [name for name, *_ in frames(rendered(ClassicStream(modes), chunks(emitted)))]
    assert sorted(names) == sorted(["metadata", *shown, "error", "cancel", "end"])


def test_the_end_says_nothing_and_ends_the_stream() -> None:
    stream = ClassicStream(["values"])
    assert stream.close() == b"event: end\r\ndata: null\r\n\r\n"
    assert frames(rendered(stream, chunks([record("end", {"status": "error"})]))) == [("end", None, 1)]
    assert stream.ended and stream.close() == b""


@pytest.mark.parametrize("after", [1, 60])
def test_a_reader_that_has_seen_everything_is_told_the_end(after: int) -> None:
    stream = ClassicStream(["messages"], after)
    assert not rendered(stream, chunks([record("end", {"status": "success"})]))
    assert stream.close() == b"event: end\r\ndata: null\r\n\r\n"


def test_only_whole_messages_need_the_events_before_the_cursor() -> None:
    assert ClassicStream(["messages", "values"]).needs_history
    assert not ClassicStream(sorted(STREAM_MODES - {"messages"})).needs_history


def test_a_gap_names_the_oldest_event_that_is_left() -> None:
    assert ClassicStream(["values"]).gap(12) == b'event: gap\r\ndata: {"oldest":12}\r\n\r\n'
