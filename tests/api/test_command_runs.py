"""The command `run.start`: what it makes of its params, and every way in which it fails."""

import pytest

from runs.identifiers import new_id
from runs.models import Run, Thread
from runs.states import CancelAction, RunStatus
from tests.api.commanding import ASK, CHECKPOINT, OTHER, refused, send, start, waits
from tests.api.engine import STATE
from tests.factories import make_run, make_thread, tenant_of


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_a_run_starts_on_a_thread_that_it_makes(client, alice, prefix):
    thread_id = str(new_id())
    answer = send(client, thread_id, "run.start", prefix, assistant_id="echo", input={"a": 1}, metadata={"b": 2})
    run = Run.objects.get()
    assert answer == {
        "type": "success",
        "id": 7,
        "result": {"run_id": str(run.pk)},
        "meta": {"applied_through_seq": 0},
    }
    assert (run.thread_id, run.thread.owner_id, run.kwargs["input"]) == (thread_id, alice.pk, {"a": 1})
    assert run.metadata.items() >= {"b": 2}.items()
    assert (run.multitask_strategy, run.kwargs["on_disconnect"]) == ("enqueue", "continue")


def test_a_run_by_a_command_records_all_channels(client, thread):
    kwargs = start(client, thread, stream_mode=["values"], stream_subgraphs=False).kwargs
    assert kwargs["event_streaming"] is True and kwargs["subgraphs"] is True
    assert {"values", "messages", "tools", "lifecycle", "checkpoints"} <= set(kwargs["stream_mode"])


def test_a_reader_may_begin_where_a_run_does_if_no_other_is_active(client, alice):
    thread = make_thread(tenant_of(alice), last_seq=9)
    first = send(client, thread, "run.start", assistant_id="echo", input={})
    second = send(client, thread, "run.start", assistant_id="echo", input={})
    assert first["meta"] == {"applied_through_seq": 9}
    assert second["type"] == "success" and "meta" not in second


def test_a_run_can_be_asked_for_all_that_there_is(client, thread, engine):
    run = start(
        client,
        thread,
        input={"a": 1},
        config={"configurable": {"b": 2, "thread_id": thread.pk}, "recursion_limit": 7},
        context={"c": 3},
        interrupt_before=["one"],
        interruptAfter="*",
        webhook="https://hooks.example.com/x",
        onDisconnect="cancel",
        durability="sync",
        afterSeconds=60,
        feedbackKeys=["good"],
    )
    assert run.kwargs["config"]["recursion_limit"] == 7 and run.kwargs["config"]["configurable"]["b"] == 2
    assert run.kwargs.items() >= {"context": {"c": 3}, "interrupt_before": ["one"], "interrupt_after": "*"}.items()
    assert run.kwargs.items() >= {"on_disconnect": "cancel", "durability": "sync", "feedback_keys": ["good"]}.items()
    assert run.webhook and run.not_before


@pytest.mark.parametrize("name", ["multitask_strategy", "multitaskStrategy"])
@pytest.mark.parametrize("strategy", ["enqueue", "interrupt", "rollback"])
def test_a_strategy_is_enforced_whichever_way_it_is_spelled(client, alice, thread, name, strategy):
    pending = make_run(tenant_of(alice), thread)
    run = start(client, thread, input={}, **{name: strategy})
    pending.refresh_from_db()
    ends = {"enqueue": RunStatus.PENDING, "interrupt": RunStatus.INTERRUPTED, "rollback": RunStatus.ERROR}
    assert (run.multitask_strategy, pending.status) == (strategy, ends[strategy])


def test_a_running_run_is_asked_to_stop_for_another(client, alice, thread):
    running = make_run(tenant_of(alice), thread, status=RunStatus.RUNNING)
    start(client, thread, input={}, multitaskStrategy="interrupt")
    running.refresh_from_db()
    assert running.cancel_action == CancelAction.INTERRUPT


def test_a_busy_thread_may_be_left_alone(client, alice, thread):
    make_run(tenant_of(alice), thread)
    code, message = refused(client, thread, "run.start", assistant_id="echo", input={}, multitaskStrategy="reject")
    assert code == "unknown_error" and message.startswith("Thread is already running a task.")
    assert start(client, make_thread(tenant_of(alice)), multitaskStrategy="reject")


def test_both_spellings_may_be_given_if_they_say_the_same(client, thread):
    both = {"ifNotExists": "create", "if_not_exists": "create"}
    assert start(client, thread, **both)
    code, message = refused(client, thread, "run.start", assistant_id="echo", assistantId="stress")
    assert code == "invalid_argument" and "assistantId" in message


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({}, "assistant_id"),
        ({"assistant_id": None}, "assistant_id"),
        ({"assistant_id": ""}, "assistant_id"),
        ({"assistant_id": "nobody"}, "assistant_id"),
        ({"assistant_id": "broken"}, "assistant_id"),
        ({"assistant_id": str(new_id())}, "Assistant"),
        ({"assistant_id": "echo", "nothing": 1}, "nothing"),
        ({"assistant_id": "echo", "multitaskStrategy": "wait"}, "multitask_strategy"),
        ({"assistant_id": "echo", "Input": {}}, "Input"),
        ({"assistant_id": "echo", "config": {"configurable": {"run_id": "x"}}}, "run_id"),
        ({"assistant_id": "echo", "config": {"configurable": {"thread_id": "x"}}}, "thread_id"),
        ({"assistant_id": "echo", "metadata": {"api_key": "x"}}, "api_key"),
        ({"assistant_id": "echo", "onCompletion": "delete"}, "on_completion"),
        ({"assistant_id": "echo", "input": 1, "command": {"resume": 1}}, "command"),
        ({"assistant_id": "echo", "webhook": "ftp://x"}, "webhook"),
        ({"assistant_id": "echo", "forkFrom": "a", "checkpointId": "b"}, "fork_from"),
        ({"assistant_id": "echo", "forkFrom": "a", "config": {"configurable": {"checkpoint_id": "b"}}}, "fork_from"),
        ({"assistant_id": "echo", "forkFrom": ""}, "fork_from"),
    ],
)
def test_what_is_wrong_with_a_run_is_named(client, thread, params, named):
    code, message = refused(client, thread, "run.start", **params)
    assert code == "invalid_argument" and named in message


def test_many_and_long_unknown_params_make_no_long_answer(client, thread):
    params = {f"{'k' * 300}{number}": 1 for number in range(2000)}
    code, message = refused(client, thread, "run.start", **params)
    assert code == "invalid_argument" and len(message) < 3000


def test_no_traces_are_sent_elsewhere(client, thread):
    assert start(client, thread, langsmith_tracer=None) and start(client, thread, langsmithTracer={})
    code, _ = refused(client, thread, "run.start", assistant_id="echo", langsmith_tracer={"project_name": "mine"})
    assert code == "not_supported"


def test_a_thread_may_have_to_be_there(client):
    code, message = refused(client, str(new_id()), "run.start", assistant_id="echo", ifNotExists="reject")
    assert (code, message) == ("invalid_argument", "Thread not found.")
    assert refused(client, "a.b", "run.start", assistant_id="echo") == (code, message)


@pytest.mark.parametrize("spelled", ["fork_from", "forkFrom", "checkpoint_id", "configurable"])
def test_a_run_starts_from_a_checkpoint(client, alice, engine, spelled):
    thread = waits(alice, ASK)
    asked = {"config": {"configurable": {"checkpoint_id": CHECKPOINT}}} if spelled == "configurable" else None
    run = start(client, thread, input={"a": 1}, **(asked or {spelled: CHECKPOINT}))
    assert run.kwargs["config"]["configurable"]["checkpoint_id"] == CHECKPOINT
    # What waits elsewhere is not answered by it.
    assert (run.kwargs["input"], run.kwargs["command"]) == ({"a": 1}, None)


def test_a_run_does_not_start_from_a_checkpoint_that_there_is_not(client, waiting, engine):
    engine.answers["has_checkpoint"] = False
    for params in ({"forkFrom": "x"}, {"config": {"configurable": {"checkpoint_id": "x"}}}):
        code, _ = refused(client, waiting, "run.start", assistant_id="echo", **params)
        assert code == "no_such_checkpoint"


@pytest.mark.parametrize("value", [{"a": 1}, "yes", False, 0, [], {}])
def test_an_input_is_the_answer_that_a_thread_waits_for(client, waiting, value):
    kwargs = start(client, waiting, input=value).kwargs
    assert (kwargs["input"], kwargs["command"]) == (None, {"resume": {ASK: value}})
    assert kwargs["strict_resume"] is True


@pytest.mark.parametrize("params", [{}, {"input": None}])
def test_without_an_input_a_waiting_thread_goes_on_as_it_is(client, waiting, params):
    kwargs = start(client, waiting, **params).kwargs
    assert (kwargs["input"], kwargs["command"], kwargs["strict_resume"]) == (None, None, False)


def test_a_command_is_no_answer(client, waiting):
    assert start(client, waiting, command={"resume": "x"}).kwargs["command"] == {"resume": "x"}


def test_of_several_interrupts_the_answered_ones_are_to_be_named(client, alice):
    code, message = refused(client, waits(alice, ASK, OTHER), "run.start", assistant_id="echo", input="yes")
    assert code == "invalid_argument" and "input.respond" in message


@pytest.mark.parametrize("interrupts", [{}, {"task": [{"value": "without an id"}]}])
def test_a_thread_that_was_stopped_takes_an_input_as_such(client, alice, interrupts):
    thread = waits(alice)
    Thread.objects.update(interrupts=interrupts)
    kwargs = start(client, thread, input={"a": 1}).kwargs
    assert (kwargs["input"], kwargs["command"]) == ({"a": 1}, None)


def test_behind_another_run_an_input_is_an_input(client, alice, waiting):
    make_run(tenant_of(alice), waiting)
    kwargs = start(client, waiting, input={"a": 1}).kwargs
    assert (kwargs["input"], kwargs["command"]) == ({"a": 1}, None)


@pytest.mark.parametrize("still", [True, False])
@pytest.mark.parametrize("status", [RunStatus.INTERRUPTED, RunStatus.ERROR, RunStatus.TIMEOUT])
def test_what_a_run_has_left_that_did_not_come_to_its_end_only_an_engine_knows(client, alice, engine, status, still):
    thread = waits(alice, ASK, graph_id="echo", status=status)
    task = {"id": "task", "interrupts": [{"id": ASK, "value": 1}] if still else []}
    engine.answers["state"] = STATE | {"tasks": [task]}
    kwargs = start(client, thread, input="yes").kwargs
    expected = (None, {"resume": {ASK: "yes"}}) if still else ("yes", None)
    assert (kwargs["input"], kwargs["command"]) == expected


def test_a_command_that_resumes_needs_something_that_waits(client, thread):
    code, _ = refused(client, thread, "run.start", assistant_id="echo", command={"resume": 1})
    assert code == "no_such_interrupt"
