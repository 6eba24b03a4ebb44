"""The events of the Agent Streaming Protocol: what each record becomes, for whom, and under which number."""

import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_protocol import protocol
from langgraph_sdk.stream.subscription import matches_subscription
from pydantic import TypeAdapter

from runs.protocol.events import Event, EventStream, gap_event, sse, state_event
from runs.protocol.selection import CHANNELS, Selection, selection
from runs.protocol.subscriptions import cursor_of
from runs.records import Chunk, Record
from tests.runs.protocol_records import TIME, chunks, nasty, read, record, threads

EVERYTHING = selection(CHANNELS)
SHAPES = {
    "lifecycle": TypeAdapter(protocol.LifecycleData),
    "messages": TypeAdapter(protocol.MessagesData),
    "tools": TypeAdapter(protocol.ToolsData),
    "input.requested": TypeAdapter(protocol.InputRequestedData),
    "checkpoints": TypeAdapter(protocol.Checkpoint),
    "updates": TypeAdapter(protocol.UpdatesData),
    "custom": TypeAdapter(protocol.CustomData),
}

definitions = st.fixed_dictionaries(
    {"channels": st.lists(st.sampled_from([*sorted(CHANNELS), "custom:a", "custom:b:c"]), min_size=1, max_size=4)},
    optional={
        "namespaces": st.lists(st.lists(nasty, max_size=2), max_size=2),
        "depth": st.integers(0, 2),
    },
)


def rendered(thread: list[Chunk], wanted: Selection = EVERYTHING, after: int = 0) -> list[Event]:
    stream = EventStream(wanted, after)
    return [event for chunk in thread for event in stream.render(chunk)]


def one(emitted: Record, wanted: Selection = EVERYTHING) -> list[dict[str, Any]]:
    """The data of the events that this record becomes."""
    events = [read(event) for event in rendered(chunks([emitted], first=7), wanted)]
    return [event["params"]["data"] for event in events]


def record_of(event: Event) -> int:
    """The number of the record that an event was made of."""
    return int(read(event)["event_id"].partition(".")[0])


@given(threads(), st.integers(0, 30))
def test_what_follows_a_cursor_is_the_rest_of_the_whole(thread: list[Chunk], after: int) -> None:
    assert rendered(thread, after=after) == [event for event in rendered(thread) if record_of(event) > after]


@given(threads(), definitions)
def test_a_subscription_gets_what_a_client_would_pick_out_of_everything(
    thread: list[Chunk], definition: dict[str, Any]
) -> None:
    wanted = selection(definition["channels"], definition.get("namespaces"), definition.get("depth"))
    picked = [event for event in rendered(thread) if matches_subscription(read(event), definition)]
    assert rendered(thread, wanted) == picked


@given(threads())
def test_numbers_rise_and_ids_are_given_once(thread: list[Chunk]) -> None:
    events = rendered(thread)
    numbers = [event.seq for event in events]
    ids = [read(event)["event_id"] for event in events]
    assert numbers == sorted(numbers)
    assert len(set(ids)) == len(ids)


@given(threads())
def test_a_reader_cut_anywhere_misses_nothing(thread: list[Chunk]) -> None:
    events = rendered(thread)
    for seen, event in enumerate(events, start=1):
        again = rendered(thread, after=event.seq)
        assert again[: len(again) - len(events) + seen] == events[len(events) - len(again) : seen]
        assert again[len(again) - len(events) + seen :] == events[seen:]


@given(threads())
def test_events_are_of_the_shapes_that_the_protocol_describes(thread: list[Chunk]) -> None:
    for event in rendered(thread):
        parsed = read(event)
        assert parsed.keys() == {"type", "event_id", "seq", "method", "params"}
        assert parsed["params"].keys() == {"namespace", "timestamp", "data"}
        assert (parsed["type"], parsed["params"]["timestamp"]) == ("event", TIME)
        if shape := SHAPES.get(event.method):
            shape.validate_python(parsed["params"]["data"])


@given(threads())
def test_nothing_breaks_the_framing(thread: list[Chunk]) -> None:
    frame = re.compile(rb"event: ([a-z.]+)\r\ndata: ([^\r\n]*)\r\nid: (\d+)\r\n\r\n")
    events = rendered(thread)
    output = sse(events)
    assert frame.sub(b"", output) == b""
    assert [Event(int(seq), name.decode(), body) for name, body, seq in frame.findall(output)] == events


GOLDEN: list[tuple[str, str, str, str, str]] = [
    # record, its data, method, channel, data of the event
    (
        "metadata",
        '{"run_id":"r","thread_id":"t","attempt":1,"graph_id":"g"}',
        "lifecycle",
        "lifecycle",
        '{"event":"running","graph_name":"g"}',
    ),
    ("metadata", '{"run_id":"r","thread_id":"t","attempt":1}', "lifecycle", "lifecycle", '{"event":"running"}'),
    ("values", '{"a": 1.50}', "values", "values", '{"a": 1.50}'),
    ("values", '{"a":1,"__interrupt__":[{"id":"i"}]}', "values", "values", '{"a":1}'),
    ("values", '{"a":"\\"__interrupt__\\""}', "values", "values", '{"a":"\\"__interrupt__\\""}'),
    ("updates", '{"n\\"":{"a": 1}}', "updates", "updates", '{"node":"n\\"","values":{"a": 1}}'),
    ("updates", '{"n":{"a":1},"__metadata__":{}}', "updates", "updates", '{"node":"n","values":{"a":1}}'),
    ("custom", '{"a": 1}', "custom", "custom", '{"payload":{"a": 1}}'),
    ("custom", '{"name":"n","payload":1}', "custom", "custom:n", '{"name":"n","payload":1}'),
    (
        "custom",
        '{"name":"n","payload":1,"more":2}',
        "custom",
        "custom",
        '{"payload":{"name":"n","payload":1,"more":2}}',
    ),
    ("custom", '{"name":"","payload":1}', "custom", "custom", '{"payload":{"name":"","payload":1}}'),
    ("custom:n", "[1]", "custom", "custom:n", '{"name":"n","payload":[1]}'),
    ("tasks", '{"id": "x"}', "tasks", "tasks", '{"id": "x"}'),
    (
        "checkpoint",
        '{"id":"c","step":0,"source":"loop"}',
        "checkpoints",
        "checkpoints",
        '{"id":"c","step":0,"source":"loop"}',
    ),
    (
        "checkpoints",
        '{"config":{"configurable":{"checkpoint_id":"c"}},"parent_config":{"configurable":{"checkpoint_id":"b"}},'
        '"values":{},"metadata":{"step":0,"source":"loop","parents":{}}}',
        "checkpoints",
        "checkpoints",
        '{"id":"c","parent_id":"b","step":0,"source":"loop"}',
    ),
    ("block", '{"event": "message-finish"}', "messages", "messages", '{"event": "message-finish"}'),
    ("tool", '{"event": "tool-error"}', "tools", "tools", '{"event": "tool-error"}'),
    ("lifecycle", '{"event": "started"}', "lifecycle", "lifecycle", '{"event": "started"}'),
    *(
        (
            "input.requested",
            f'{{"interrupt_id":{identity},"payload":{payload}}}',
            "input.requested",
            "input",
            f'{{"interrupt_id":{identity},"payload":{payload},"value":{payload}}}',
        )
        for identity, payload in [
            ('"i"', "null"),
            ('"i"', '{"payload":{"question":"?","payload":[1]}}'),
            (r'",\"payload\":"', '"}"'),
        ]
    ),
    ("input.requested", '{"interrupt_id":"i"}', "input.requested", "input", '{"interrupt_id":"i"}'),
]


@pytest.mark.parametrize(("method", "data", "shown_as", "channel", "shown"), GOLDEN)
def test_each_record_is_told_in_the_words_of_the_protocol(
    method: str, data: str, shown_as: str, channel: str, shown: str
) -> None:
    emitted = chunks([Record(method, data.encode(), ("child:1", 'q"\u2028'), TIME)], first=7)
    body = (
        f'{{"type":"event","event_id":"7","seq":7,"method":"{shown_as}","params":'
        f'{{"namespace":["child:1","q\\"\u2028"],"timestamp":{TIME},"data":{shown}}}}}'
    )
    event = Event(7, shown_as, body.encode())
    assert rendered(emitted, selection([channel])) == [event]
    assert rendered(emitted, selection(CHANNELS - {channel.partition(":")[0]})) == []
    assert sse([event]) == f"event: {shown_as}\r\ndata: {body}\r\nid: 7\r\n\r\n".encode()


@pytest.mark.parametrize("method", ["error", "cancel", "debug", "events"])
def test_some_records_are_not_told(method: str) -> None:
    assert one(record(method, {"error": "E"})) == []


@pytest.mark.parametrize(
    ("end", "told"),
    [
        ({"status": "success"}, {"event": "completed"}),
        ({"status": "success", "waits": True}, {"event": "interrupted"}),
        ({"status": "error", "error": "boom"}, {"event": "failed", "error": "boom"}),
        ({"status": "timeout", "error": "late"}, {"event": "failed", "error": "late"}),
        ({"status": "error"}, {"event": "failed"}),
        ({"status": "interrupted", "cancelled": True, "superseded": True}, {"event": "interrupted"}),
        ({"status": "interrupted", "cancelled": True}, {"event": "failed", "error": "The run was cancelled."}),
        ({"status": "error", "cancelled": True}, {"event": "failed", "error": "The run was cancelled."}),
        ({"status": "error", "cancelled": True, "superseded": True}, {"event": "interrupted"}),
        ({"status": "interrupted"}, {"event": "failed", "error": "The run was cancelled."}),
    ],
)
def test_the_end_of_a_run_is_a_turn_of_the_root_graph(end: dict[str, Any], told: dict[str, Any]) -> None:
    assert one(record("end", {**end, "graph_id": "g"})) == [{**told, "graph_name": "g"}]
    # Runs that ended before the log named their graph.
    assert one(record("end", end)) == [told]


def test_an_update_of_several_nodes_is_several_events_under_one_number() -> None:
    update = record("updates", {"a": {"x": 1}, "__interrupt__": [], "b": {"y": 2}, "c": {}})
    events = rendered(chunks([update], first=7))
    assert [(event.seq, read(event)["event_id"]) for event in events] == [(6, "7.1"), (6, "7.2"), (7, "7.3")]
    assert one(update) == [
        {"node": "a", "values": {"x": 1}},
        {"node": "b", "values": {"y": 2}},
        {"node": "c", "values": {}},
    ]


@pytest.mark.parametrize("update", [{}, {"__interrupt__": [{"id": "i"}]}, {"__interrupt__": [], "__metadata__": {}}])
def test_an_update_of_no_node_is_not_told(update: dict[str, Any]) -> None:
    assert one(record("updates", update)) == []


def test_a_stream_forgets_places_it_has_seen_and_knows_them_again() -> None:
    emitted = [record("tasks", i, [f"child:{i % 700}"]) for i in range(1400)]
    events = rendered(chunks(emitted), selection(["tasks"], [["child:3"], ["child:650"]]))
    assert [read(event)["params"]["data"] for event in events] == [3, 650, 703, 1350]


def test_the_state_is_an_event_at_the_number_where_the_replay_begins() -> None:
    event = state_event(12, b'{"a": 1}', TIME)
    assert event == Event(
        12,
        "values",
        b'{"type":"event","event_id":"state.12-1795160537755","seq":12,"method":"values","params":'
        b'{"namespace":[],"timestamp":1795160537755,"data":{"a": 1}}}',
    )
    assert read(state_event(0, b'{"a":1,"__interrupt__":[]}', TIME))["params"]["data"] == {"a": 1}


def test_states_at_one_number_have_ids_of_their_own_from_which_a_reader_goes_on() -> None:
    before, after = (read(state_event(12, b"{}", moment))["event_id"] for moment in (TIME, TIME + 1))
    assert before != after
    assert cursor_of(before) == cursor_of(after) == 12


@pytest.mark.parametrize(("oldest", "seq"), [(12, 11), (1, 0), (None, 0)])
def test_a_gap_names_the_oldest_event_that_is_left(oldest: int | None, seq: int) -> None:
    event = read(gap_event(oldest))
    assert (event["method"], event["seq"], event["params"]["data"]) == ("gap", seq, {"oldest": oldest})


def test_values_without_interrupts_are_not_parsed() -> None:
    data = b'{"this is": no JSON}'
    (event,) = rendered(chunks([Record("values", data, (), TIME)]))
    assert data in event.body


@given(
    st.sampled_from([*sorted(CHANNELS), "custom:a", "custom:b:c", "debug"]), st.lists(nasty, max_size=3), definitions
)
def test_a_selection_wants_what_the_sdk_matches(name: str, namespace: list[str], definition: dict[str, Any]) -> None:
    method, _, called = name.partition(":")
    event: Any = {"method": method, "params": {"namespace": namespace, "data": {"name": called}}}
    wanted = selection(definition["channels"], definition.get("namespaces"), definition.get("depth"))
    if method == "input":
        event["method"] = "input.requested"
    assert wanted.wants(name, tuple(namespace)) == matches_subscription(event, definition)


def test_the_body_of_an_event_is_json_whatever_it_holds() -> None:
    event = rendered(chunks([record('custom:%d"', {"%b": "%"}, ["%s"])]))[0]
    assert orjson.loads(event.body)["params"]["data"] == {"name": '%d"', "payload": {"%b": "%"}}
