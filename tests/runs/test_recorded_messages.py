"""The messages of classic runs as content-block events, read with the decoders of the Python SDK."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.language_models.chat_model_stream import ChatModelStream
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langgraph_sdk.stream.decoders import MessagesDecoder

from runs.protocol.events import EventStream
from runs.protocol.selection import CHANNELS, selection
from runs.records import Record
from tests.runs.protocol_records import chunks, read, record, told

END = record("end", {"status": "success"})


def events_of(emitted: Sequence[Record]) -> list[dict[str, Any]]:
    stream = EventStream(selection(CHANNELS), 0)
    return [read(event) for chunk in chunks(emitted) for event in stream.render(chunk)]


def kinds(emitted: Sequence[Record]) -> list[str]:
    """What is told of messages, and how often in a row."""
    return [e["params"]["data"]["event"] for e in events_of(emitted) if e["method"] == "messages"]


def decoded(emitted: Sequence[Record], namespace: Sequence[str] = ()) -> list[ChatModelStream]:
    """The messages that a client reads at a place."""
    decoder = MessagesDecoder(list(namespace), lambda *, namespace, node, message_id: ChatModelStream())
    return [message for event in events_of(emitted) for message in decoder.feed(event)]


def said(emitted: Sequence[Record], namespace: Sequence[str] = ()) -> dict[str | None, str]:
    return {message.message_id: message.text.get() for message in decoded(emitted, namespace)}


def piece(content: Any, message_id: str = "m1", last: bool = False, **more: Any) -> AIMessageChunk:
    return AIMessageChunk(content, id=message_id, chunk_position="last" if last else None, **more)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[dict[str, list[str]], list[Record]]:
    """The words of some messages, told at once at two places; and their records in some order."""
    words = draw(
        st.dictionaries(st.sampled_from("abcd"), st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=4))
    )
    left = {
        name: [*(piece(word, name) for word in spoken), piece("", name, last=True)] for name, spoken in words.items()
    }
    emitted = []
    while left:
        name = draw(st.sampled_from(sorted(left)))
        emitted.append(told(left[name].pop(0), ["child:1"] if name < "c" else []))
        left = {name: pieces for name, pieces in left.items() if pieces}
    return words, emitted


@given(conversations())
def test_messages_told_at_once_come_out_whole(conversation: tuple[dict[str, list[str]], list[Record]]) -> None:
    words, emitted = conversation
    found = said(emitted, ["child:1"]) | said(emitted)
    assert found == {name: "".join(spoken).replace("\0", "\ufffd") for name, spoken in words.items()}


def test_a_token_comes_as_soon_as_it_is_recorded() -> None:
    emitted = [told(piece("He")), told(piece("llo")), told(piece("", last=True)), END]
    assert [(e["event_id"], e["seq"], e["params"]["data"]) for e in events_of(emitted)[:-1]] == [
        (
            "1.1",
            0,
            {
                "event": "message-start",
                "role": "ai",
                "id": "m1",
                "metadata": {
                    "langgraph_node": "model",
                    "langgraph_step": 1,
                    "ls_provider": "fake",
                    "provider": "fake",
                },
            },
        ),
        ("1.2", 0, {"event": "content-block-start", "index": 0, "content": {"type": "text", "text": ""}}),
        ("1.3", 1, {"event": "content-block-delta", "index": 0, "delta": {"type": "text-delta", "text": "He"}}),
        ("2", 2, {"event": "content-block-delta", "index": 0, "delta": {"type": "text-delta", "text": "llo"}}),
        ("3.1", 2, {"event": "content-block-finish", "index": 0, "content": {"type": "text", "text": "Hello"}}),
        ("3.2", 3, {"event": "message-finish"}),
    ]


def test_calls_thoughts_and_usage_are_told() -> None:
    usage = {"input_tokens": 3, "output_tokens": 0, "total_tokens": 3}
    more = {"input_tokens": 0, "output_tokens": 4, "total_tokens": 4}
    call = {"name": "look", "args": '{"at":', "id": "c1", "index": 2}
    emitted = [
        told(piece([{"type": "thinking", "thinking": "h", "index": 0}], usage_metadata=usage)),
        told(piece([{"type": "thinking", "thinking": "m", "index": 0}])),
        told(piece([{"type": "text", "text": "See.", "index": 1}])),
        told(piece("", tool_call_chunks=[call])),
        told(piece("", tool_call_chunks=[{"name": None, "args": ' "it"}', "id": None, "index": 2}])),
        told(piece("", usage_metadata=more, response_metadata={"stop": "tool_use"}, last=True)),
    ]
    (message,) = decoded(emitted)
    assert (message.reasoning.get(), message.text.get()) == ("hm", "See.")
    assert message.tool_calls.get() == [{"type": "tool_call", "id": "c1", "name": "look", "args": {"at": "it"}}]
    assert message.output.usage_metadata == {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    assert message.output.response_metadata["stop"] == "tool_use"


def test_a_message_that_is_recorded_whole_is_told_at_once() -> None:
    emitted = [told(AIMessage("Hello", id="m1")), told(AIMessage("again", id="m1")), END]
    start, block, finish = "message-start", "content-block-start", "content-block-finish"
    assert kinds(emitted) == [start, block, "content-block-delta", finish, "message-finish"]
    assert said(emitted) == {"m1": "Hello"}


def test_a_message_that_comes_whole_after_its_pieces_has_ended() -> None:
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    emitted = [told(piece("Hel")), told(piece("lo")), told(AIMessage("Hello", id="m1", usage_metadata=usage))]
    (message,) = decoded(emitted)
    assert message.text.get() == "Hello"
    assert message.output.usage_metadata == usage


def test_what_comes_of_a_message_after_its_end_is_not_told() -> None:
    emitted = [told(piece("Hello", last=True)), told(piece(" you"))]
    assert said(emitted) == {"m1": "Hello"}
    assert kinds(emitted)[-1] == "message-finish"


@pytest.mark.parametrize(
    "message",
    [HumanMessage("hi", id="m1"), ToolMessage("hi", id="m1", tool_call_id="c"), SystemMessage("hi", id="m1")],
)
def test_only_what_models_say_is_told(message: BaseMessage) -> None:
    assert kinds([told(message), END]) == []


@pytest.mark.parametrize("border", [END, record("metadata", {"run_id": "r", "thread_id": "t", "attempt": 2})])
def test_what_a_run_leaves_open_ends_before_it_and_before_it_is_tried_again(border: Record) -> None:
    emitted = [told(piece("Hel")), told(piece("lo", "m2"), ["child:1"]), told(piece("wait", "m3")), border]
    events = events_of(emitted)
    last = [(e["event_id"], e["seq"], e["method"], e["params"]["namespace"]) for e in events if e["seq"] >= 3]
    assert last == [
        *((f"4.{i}", 3, "messages", []) for i in range(1, 8)),
        *((f"4.{i}", 3, "messages", ["child:1"]) for i in range(8, 10)),
        ("4", 4, "lifecycle", []),
    ]
    assert said(emitted) == {"m1": "Hel", "m3": "wait"}
    assert said(emitted, ["child:1"]) == {"m2": "lo"}


def test_the_end_of_a_run_has_one_id_for_every_subscription() -> None:
    (chunk,) = chunks([told(piece("Hel")), told(piece("lo", "m2"), ["child:1"]), END])

    def ids(channels: Sequence[str], namespaces: Sequence[Sequence[str]]) -> list[str]:
        return [read(e)["event_id"] for e in EventStream(selection(channels, namespaces), 2).render(chunk)]

    assert ids(["lifecycle"], []) == ["3"]
    assert ids(["messages", "lifecycle"], [["child"]]) == ["3.3", "3.4"]


def test_the_next_step_ends_the_messages_of_the_one_before() -> None:
    emitted = [told(piece("cut"), step=1), told(piece("wait", "m2"), step=1), told(piece("new", "m3"), step=2)]
    assert kinds(emitted).count("message-finish") == 2
    assert said([*emitted, END]) == {"m1": "cut", "m2": "wait", "m3": "new"}


def test_messages_in_pieces_alone_are_told_too() -> None:
    about = record("messages/metadata", {"m1": {"metadata": {"langgraph_node": "model"}}})
    emitted = [about, told(piece("Hel"), method="messages/partial"), told(piece("lo"), method="messages/partial")]
    emitted += [told(AIMessage("bye", id="m2"), method="messages/complete"), END]
    assert said(emitted) == {"m1": "Hello", "m2": "bye"}
    assert events_of(emitted)[0]["params"]["data"]["metadata"] == {"langgraph_node": "model"}


def test_messages_recorded_in_both_ways_are_told_once() -> None:
    both = [
        [told(chunk), record("messages/metadata", {"m1": {"metadata": {}}}), told(chunk, method="messages/partial")]
        for chunk in (piece("Hel"), piece("lo", last=True))
    ]
    emitted = [*both[0], *both[1], END]
    assert said(emitted) == {"m1": "Hello"}
    assert kinds(emitted).count("message-start") == 1


def test_runs_do_not_finish_each_others_messages() -> None:
    stream = EventStream(selection(["messages"]), 0)
    (one,), (two,) = chunks([told(piece("a"))], run="one"), chunks([END], run="two", first=2)
    stream.render(one)
    assert stream.render(two) == []
    (rest,) = chunks([END], run="one", first=3)
    assert len(stream.render(rest)) == 2


def test_a_run_that_has_ended_is_forgotten() -> None:
    stream = EventStream(selection(["messages"]), 0)
    (first,) = chunks([told(piece("a", last=True)), END])
    (again,) = chunks([told(piece("a", last=True))], first=3)
    assert stream.render(first)
    assert stream.render(again)
