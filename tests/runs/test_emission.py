"""What a graph emits, as records: what the modes asked for, and nothing of the server's own."""

from typing import Any

import orjson
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langgraph.types import Interrupt

from runs.engine.emission import Emission
from runs.engine.encode import EventTooLarge
from runs.records import MAX_EVENT_BYTES
from tests.fakes import Notebook


@pytest.fixture
def notebook() -> Notebook:
    return Notebook()


def emission(notebook: Notebook, *modes: str) -> Emission:
    journal: Any = notebook
    return Emission(journal, modes)


def noted(notebook: Notebook) -> list[tuple[str, Any]]:
    return [(record.method, orjson.loads(record.data)) for record in notebook.records]


@pytest.mark.parametrize(
    ("modes", "sources"),
    [
        ([], ["updates", "values"]),
        (["updates"], ["updates", "values"]),
        (["messages", "messages-tuple"], ["messages", "updates", "values"]),
        (["custom", "debug", "tasks", "checkpoints"], ["checkpoints", "custom", "debug", "tasks", "updates", "values"]),
        (["events", "values"], ["updates", "values"]),
    ],
)
def test_a_graph_is_run_with_what_feeds_the_modes_and_what_tells_how_it_ends(
    notebook: Notebook, modes: list[str], sources: list[str]
) -> None:
    assert emission(notebook, *modes).sources == sources


@pytest.mark.parametrize("source", ["values", "updates", "custom", "tasks"])
def test_what_was_asked_for_is_recorded(notebook: Notebook, source: str) -> None:
    emission(notebook, source).take((), source, {"a": 1})
    assert noted(notebook) == [(source, {"a": 1})]


def test_what_was_not_asked_for_is_not_recorded(notebook: Notebook) -> None:
    emission(notebook, "updates").take((), "values", {"a": 1})
    assert noted(notebook) == []


def test_subgraphs_are_named(notebook: Notebook) -> None:
    emission(notebook, "updates").take(("child:1", "leaf:2"), "updates", {})
    assert notebook.records[0].namespace == ("child:1", "leaf:2")


def test_the_last_values_are_recorded_in_any_case(notebook: Notebook) -> None:
    emitted = emission(notebook, "updates")
    for number in range(3):
        emitted.take((), "values", {"a": number})
    emitted.take(("child:1",), "values", {"b": 1})
    emitted.close([])
    assert noted(notebook) == [("values", {"a": 2})]


@pytest.mark.parametrize("modes", [["values"], ["updates"]])
def test_the_last_values_show_what_waits_for_an_answer(notebook: Notebook, modes: list[str]) -> None:
    emitted = emission(notebook, *modes)
    asked = Interrupt("why", id="i")
    emitted.take((), "values", {"a": 1, "__interrupt__": (asked,)})
    emitted.take((), "values", {"a": 2})
    emitted.close([asked])
    (*_, (_, values), (last, _)) = noted(notebook)
    assert (values["a"], [one["id"] for one in values["__interrupt__"]], last) == (2, ["i"], "input.requested")


def test_the_last_values_are_recorded_once(notebook: Notebook) -> None:
    emitted = emission(notebook, "values")
    emitted.take((), "values", {"a": 1})
    emitted.close([])
    assert noted(notebook) == [("values", {"a": 1})]


def test_a_graph_without_values_has_none(notebook: Notebook) -> None:
    emitted = emission(notebook)
    emitted.close([])
    assert noted(notebook) == []


def test_pieces_of_messages_come_as_tuples(notebook: Notebook) -> None:
    piece, about = AIMessageChunk("h", id="m"), {"langgraph_node": "speak"}
    emission(notebook, "messages-tuple").take((), "messages", (piece, about))
    assert noted(notebook) == [("messages", [piece.model_dump(), about])]


def test_pieces_of_messages_come_after_what_is_said_of_the_message(notebook: Notebook) -> None:
    emitted = emission(notebook, "messages")
    about = {"langgraph_node": "speak"}
    for piece in (AIMessageChunk("h", id="m"), AIMessageChunk("i", id="m"), AIMessage("whole", id="n")):
        emitted.take((), "messages", (piece, about))
    assert [(method, data if "metadata" in method else data[0]["content"]) for method, data in noted(notebook)] == [
        ("messages/metadata", {"m": {"metadata": about}}),
        ("messages/partial", "h"),
        ("messages/partial", "i"),
        ("messages/metadata", {"n": {"metadata": about}}),
        ("messages/complete", "whole"),
    ]


def test_each_message_has_its_own_metadata(notebook: Notebook) -> None:
    emitted = emission(notebook, "messages-tuple")
    for node in ("a", "b", "a"):
        emitted.take((), "messages", (AIMessageChunk("h", id=node), {"langgraph_node": node}))
    assert [about["langgraph_node"] for _, (_, about) in noted(notebook)] == ["a", "b", "a"]


@pytest.mark.parametrize("source", ["debug", "checkpoints"])
def test_the_configuration_of_the_server_stays_inside(notebook: Notebook, source: str) -> None:
    configurable = {"thread_id": "t", "__pregel_store": object(), "__writer": ("t", 1, 1)}
    config = {"configurable": configurable, "values": [{"__interrupt__": 1}]}
    emission(notebook, source).take((), source, {"payload": [{"config": config}]})
    assert noted(notebook) == [
        (source, {"payload": [{"config": {"configurable": {"thread_id": "t"}, "values": [{"__interrupt__": 1}]}}]})
    ]


def test_the_configuration_of_the_caller_is_not_told_with_tasks(notebook: Notebook) -> None:
    journal: Any = notebook
    task = {"id": "1", "metadata": {"thread_id": "t", "token": "secret"}}
    Emission(journal, ["tasks"], ["thread_id", "token"]).take((), "tasks", task)
    assert noted(notebook) == [("tasks", {"id": "1", "metadata": {"thread_id": "t"}})]


def test_events_are_recorded_as_they_come(notebook: Notebook) -> None:
    emission(notebook, "events").take_event({"event": "on_chain_start", "metadata": {"__pregel_x": 1, "a": 1}})
    assert noted(notebook) == [("events", {"event": "on_chain_start", "metadata": {"a": 1}})]


@pytest.mark.parametrize("mode", ["values", "custom"])
def test_an_event_that_is_too_large_is_not_recorded(notebook: Notebook, mode: str) -> None:
    with pytest.raises(EventTooLarge):
        emission(notebook, mode).take((), mode, "a" * MAX_EVENT_BYTES)
    assert noted(notebook) == []
