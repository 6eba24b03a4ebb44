"""Bodies of requests: what is known is taken, what is not is named."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from runs.protocol.classic import STREAM_MODES
from runs.protocol.requests.assistants import AssistantCreate, AssistantSearch
from runs.protocol.requests.events import Subscription
from runs.protocol.requests.runs import RunRequest
from runs.protocol.requests.state import HistoryQuery, StateUpdate
from runs.protocol.requests.threads import ThreadCreate, ThreadSearch
from runs.states import MultitaskStrategy

RUN: dict[str, Any] = {"assistant_id": "echo"}


def complaints(model: type[BaseModel], body: Any) -> list[tuple[Any, ...]]:
    """The path of each field that is wrong."""
    with pytest.raises(ValidationError) as raised:
        model.model_validate(body)
    return [error["loc"] for error in raised.value.errors()]


def test_the_shortest_run_has_the_defaults_of_the_server() -> None:
    request = RunRequest.model_validate(RUN)
    assert request.stream_modes == ["values"]
    assert request.configurable == {}
    assert (request.strategy, request.input, request.on_disconnect) == (None, None, None)


@pytest.mark.parametrize(
    "field",
    [
        {"input": 0},
        {"input": {"messages": []}},
        {"command": {"resume": None}},
        {"command": {"update": {"a": 1}, "goto": "node"}},
        {"command": {"update": [["a", 1], ["b", [2]]]}},
        {"command": {"goto": [{"node": "a", "input": 1}, "b"]}},
        {"config": {"tags": ["a"], "recursion_limit": 1, "configurable": {"thread_id": "t", "model": "m"}}},
        {"context": {"a": 1}, "metadata": {"b": None}},
        {"checkpoint": {"checkpoint_id": "c", "checkpoint_ns": ""}, "checkpoint_id": "c"},
        {"checkpoint": {"thread_id": "t"}, "checkpoint_id": "c"},
        {"checkpoint": {"checkpoint_id": "c", "checkpoint_map": {"": "c"}}},
        {"checkpoint": {"checkpoint_id": "c", "checkpoint_ns": "n:1", "checkpoint_map": {"": "b", "n:1": "c"}}},
        {"interrupt_before": "*", "interrupt_after": ["a"]},
        {"stream_mode": "messages-tuple", "stream_subgraphs": True, "stream_resumable": False},
        {"stream_mode": []},
        {"on_disconnect": "continue", "on_completion": "delete", "if_not_exists": "reject"},
        {"assistant_id": None},
        {"follow_up_to_run_id": "01a1f9a6-7046-7383-9593-130c0ce2fed6", "strict_resume": True},
        {"webhook": "https://example.org/hook", "feedback_keys": ["score"]},
        {"after_seconds": 0},
        {"after_seconds": 1.5},
        {"durability": "exit", "checkpoint_during": False},
        {"config": None, "input": None, "stream_mode": None, "command": None},
    ],
)
def test_what_a_run_may_ask_for(field: dict[str, Any]) -> None:
    RunRequest.model_validate({**RUN, **field})


@pytest.mark.parametrize(
    ("field", "loc"),
    [
        ({"follow_up_to_run_id": "x"}, ("follow_up_to_run_id",)),
        ({"webhook": ""}, ("webhook",)),
        ({"webhook": "h" * 2049}, ("webhook",)),
        ({"feedback_keys": [""]}, "feedback_keys"),
        ({"feedback_keys": ["key"] * 51}, "feedback_keys"),
        ({"assistant_id": ""}, ("assistant_id",)),
        ({"assistant_id": "a" * 65}, ("assistant_id",)),
        ({"assistant_id": 1}, ("assistant_id",)),
        ({"unknown": None}, ("unknown",)),
        ({"webhook": 1}, ("webhook",)),
        ({"stream_mode": "tokens"}, "stream_mode"),
        ({"stream_mode": ["values"] * 17}, "stream_mode"),
        ({"stream_mode": ["values", 1]}, "stream_mode"),
        ({"multitask_strategy": "replace"}, ("multitask_strategy",)),
        ({"on_disconnect": "stop"}, ("on_disconnect",)),
        ({"stream_subgraphs": "yes"}, ("stream_subgraphs",)),
        ({"after_seconds": -1}, ("after_seconds",)),
        ({"after_seconds": 10**12}, ("after_seconds",)),
        ({"after_seconds": "5"}, ("after_seconds",)),
        ({"after_seconds": True}, ("after_seconds",)),
        ({"metadata": []}, ("metadata",)),
        ({"context": "a"}, ("context",)),
        ({"config": {"recursion_limit": 0}}, ("config", "recursion_limit")),
        ({"config": {"recursion_limit": 10_001}}, ("config", "recursion_limit")),
        ({"config": {"recursion_limit": True}}, ("config", "recursion_limit")),
        ({"config": {"recursion_limit": 2.0}}, ("config", "recursion_limit")),
        ({"config": {"tags": ["a"] * 101}}, ("config", "tags")),
        ({"config": {"tags": "a"}}, ("config", "tags")),
        ({"config": {"callbacks": []}}, ("config", "callbacks")),
        ({"config": {"configurable": {"thread_id": 1}}}, ("config", "configurable")),
        ({"command": {"resume": 1, "go": 1}}, ("command", "go")),
        ({"command": {"goto": {"node": 1}}}, "command"),
        ({"command": {"update": [["a"]]}}, "command"),
        ({"checkpoint": {"checkpoint_id": "c", "id": "d"}}, ("checkpoint", "id")),
        ({"checkpoint_id": "c" * 256}, ("checkpoint_id",)),
        ({"interrupt_before": "node"}, "interrupt_before"),
        ({"input": 1, "command": {"resume": 1}}, ()),
        ({"checkpoint": {"checkpoint_id": "c"}, "checkpoint_id": "d"}, ()),
        ({"checkpoint": {"checkpoint_id": "c", "checkpoint_ns": "n:1"}}, ()),
        ({"checkpoint": {"checkpoint_id": "c", "checkpoint_ns": "n:1", "checkpoint_map": {"n:1": "c"}}}, ()),
        ({"checkpoint": {"checkpoint_id": "c", "checkpoint_ns": "n", "checkpoint_map": {"": "b", "n": "d"}}}, ()),
        ({"checkpoint": {"checkpoint_id": "c", "checkpoint_map": {"": "d"}}}, ()),
        ({"checkpoint": {"checkpoint_id": "c", "checkpoint_map": {"": 1}}}, "checkpoint"),
    ],
)
def test_what_a_run_may_not_ask_for_is_named(field: dict[str, Any], loc: Any) -> None:
    """`loc`: the one path, or what all paths begin with, one for each form that the field may have."""
    paths = complaints(RunRequest, {**RUN, **field})
    assert paths == [loc] or {path[0] for path in paths} == {loc}


@pytest.mark.parametrize(
    "key",
    [
        "run_id",
        "user_id",
        "organization_id",
        "assistant_id",
        "graph_id",
        "run_attempt",
        "checkpoint_ns",
        "__pregel_task_id",
        "__writer",
        "langgraph_auth_user_id",
    ],
)
def test_what_the_server_configures_is_not_configurable(key: str) -> None:
    body = {**RUN, "config": {"configurable": {key: "mine"}}}
    assert complaints(RunRequest, body) == [("config", "configurable")]
    assert complaints(AssistantCreate, {"graph_id": "echo", "config": body["config"]}) == [("config", "configurable")]


@pytest.mark.parametrize("body", [[], "a", 1, None, True])
def test_a_body_is_an_object(body: Any) -> None:
    assert complaints(RunRequest, body) == [()]


def test_stream_modes_are_asked_for_once() -> None:
    body = {**RUN, "stream_mode": ["updates", "values", "updates"]}
    assert RunRequest.model_validate(body).stream_modes == ["updates", "values"]


@pytest.mark.parametrize("mode", sorted(STREAM_MODES))
def test_every_mode_that_can_be_shown_can_be_asked_for(mode: str) -> None:
    assert RunRequest.model_validate({**RUN, "stream_mode": mode}).stream_modes == [mode]


@pytest.mark.parametrize("strategy", MultitaskStrategy)
def test_every_strategy_can_be_asked_for(strategy: MultitaskStrategy) -> None:
    assert RunRequest.model_validate({**RUN, "multitask_strategy": strategy.value}).strategy is strategy


@pytest.mark.parametrize("thread_id", ["a", "A-z_9", "a" * 64, "01a1f866-2b95-7488-ab2c-8709764e3f6b"])
def test_ids_that_a_thread_may_have(thread_id: str) -> None:
    assert ThreadCreate.model_validate({"thread_id": thread_id}).thread_id == thread_id


@pytest.mark.parametrize("thread_id", ["", "a" * 65, "a b", "../a", "a\n", "ü", "٣", "%00", 1])
def test_ids_that_a_thread_may_not_have(thread_id: Any) -> None:
    assert complaints(ThreadCreate, {"thread_id": thread_id}) == [("thread_id",)]


@pytest.mark.parametrize(
    "assistant_id", ["", "echo", "01A1F866-2B95-7488-AB2C-8709764E3F6B", "01a1f8662b957488ab2c8709764e3f6b"]
)
def test_ids_that_an_assistant_may_not_have(assistant_id: str) -> None:
    assert complaints(AssistantCreate, {"graph_id": "echo", "assistant_id": assistant_id}) == [("assistant_id",)]


@pytest.mark.parametrize("model", [ThreadSearch, AssistantSearch])
@pytest.mark.parametrize(
    "field",
    [
        {"limit": 0},
        {"limit": 1001},
        {"limit": "1"},
        {"offset": -1},
        {"offset": 2**63 - 1},
        {"sort_by": "; DROP"},
        {"sort_order": "up"},
        {"metadata": "a"},
        {"select": ["password"]},
        {"pk__in": []},
    ],
)
def test_what_a_search_may_not_ask_for_is_named(model: type[BaseModel], field: dict[str, Any]) -> None:
    assert {path[0] for path in complaints(model, field)} == set(field)


def test_a_million_mistakes_are_not_all_told() -> None:
    assert len(complaints(RunRequest, {**RUN, "interrupt_before": [1] * 1_000_000})) < 10
    assert len(complaints(RunRequest, {**RUN, "command": {"goto": [1] * 1_000_000}})) < 10
    assert len(complaints(StateUpdate, {"values": [1] * 1_000_000})) < 10


@pytest.mark.parametrize("before", ["c", {"checkpoint_id": "c"}, {"configurable": {"checkpoint_id": "c"}}, None])
def test_history_begins_where_a_client_says(before: Any) -> None:
    HistoryQuery.model_validate({"before": before})


@pytest.mark.parametrize(
    "wrong",
    [
        *({"checkpoint_id": 5}, {"checkpoint_id": {"a": 1}}, {"checkpoint_map": 5}, {"checkpoint_map": {"": 5}}),
        {"checkpoint_map": {str(number): "c" for number in range(21)}},
    ],
)
def test_a_place_in_configurable_has_the_type_of_a_place(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        RunRequest.model_validate({"assistant_id": "echo", "config": {"configurable": wrong}})


def test_a_command_asks_for_something() -> None:
    with pytest.raises(ValidationError, match="needs"):
        RunRequest.model_validate({"assistant_id": "echo", "command": {}})


def test_of_many_unknown_fields_some_are_named() -> None:
    sent = {**{f"key{number}": number for number in range(300_000)}, "depth": "x", "channels": ["values"]}
    with pytest.raises(ValidationError) as refused:
        Subscription.model_validate(sent)
    where = {error["loc"][0] for error in refused.value.errors()}
    assert where == {"depth", *(f"key{number}" for number in range(20))}
