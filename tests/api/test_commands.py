"""Commands of the Agent Streaming Protocol: what each does, and every way in which one fails."""

import json
from dataclasses import replace
from typing import Any

import pytest
from django.conf import settings as site
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.test import APIClient

from accounts.models import Role, User
from accounts.services import add_member
from runs.calls import CallRefused, NoEngine
from runs.identifiers import new_id
from runs.models import Assistant, EventChunk, Graph, Run, Thread
from runs.protocol.commands import Command, CommandFailed, ErrorCode
from runs.records import pack, record
from runs.services.commands import perform
from runs.states import CancelAction, RunStatus, ThreadStatus
from tests.api.engine import STATE, FakeEngine, installed
from tests.api.rows import fingerprint
from tests.api.test_bad_addresses import ODD_IDS
from tests.api.test_fuzz import bodies, within_one_test
from tests.factories import api_client, make_run, make_thread, tenant_of

ASK = "a" * 32
OTHER = "b" * 32
CHECKPOINT = STATE["checkpoint_id"]


def send(client: APIClient, thread: Thread | str, method: str, /, prefix: str = "", **params: Any) -> Any:
    thread_id = thread if isinstance(thread, str) else thread.pk
    response = client.post(f"{prefix}/threads/{thread_id}/commands", {"id": 7, "method": method, "params": params})
    assert response.status_code == 200, response.content
    answer = response.json()
    assert answer["id"] == 7
    return answer


def result(client: APIClient, thread: Thread | str, method: str, /, **params: Any) -> Any:
    answer = send(client, thread, method, **params)
    assert answer["type"] == "success", answer
    return answer["result"]


def refused(client: APIClient, thread: Thread | str, method: str, /, **params: Any) -> tuple[str, str]:
    """The code and the message of a command that fails, which writes nothing."""
    before = fingerprint()
    answer = send(client, thread, method, **params)
    assert answer["type"] == "error", answer
    assert set(answer) == {"type", "id", "error", "message"}
    assert fingerprint() == before
    return answer["error"], answer["message"]


def start(client: APIClient, thread: Thread | str, **params: Any) -> Run:
    started = result(client, thread, "run.start", assistant_id="echo", **params)
    assert set(started) == {"run_id"}
    return Run.objects.get(pk=started["run_id"])


@pytest.fixture
def thread(alice: User, acme: object) -> Thread:
    return make_thread(tenant_of(alice))


@pytest.fixture
def waiting(alice: User, acme: object, graphs: object) -> Thread:
    """A thread whose last run has come to one interrupt."""
    return waits(alice, ASK)


def waits(user: User, *ids: str, **over: Any) -> Thread:
    interrupts = {f"task-{name}": [{"id": name, "value": "go on?"}] for name in ids}
    thread = make_thread(tenant_of(user), interrupts=interrupts, last_seq=5)
    make_run(tenant_of(user), thread, **{"status": RunStatus.SUCCESS, "after_seq": 0} | over)
    thread.status = thread.settled_status = ThreadStatus.INTERRUPTED
    thread.save()
    return thread


# Envelopes.


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, None),
        ([], None),
        ("run.start", None),
        ({"method": "run.start"}, None),
        ({"id": 3}, 3),
        ({"id": "3", "method": "run.start"}, None),
        ({"id": True, "method": "run.start"}, None),
        ({"id": -1, "method": "run.start"}, None),
        ({"id": 2**53, "method": "run.start"}, None),
        ({"id": 3, "method": 3}, 3),
        ({"id": 3, "method": ""}, 3),
        ({"id": 3, "method": "run.start", "params": []}, 3),
        ({"id": 3, "method": "run.start", "params": None}, 3),
    ],
    ids=str,
)
def test_what_is_no_command_is_said_to_be_none(client, thread, body, told):
    before = fingerprint()
    response = client.post(f"/threads/{thread.pk}/commands", body)
    answer = response.json()
    assert response.status_code == 400
    assert (answer["type"], answer["id"], answer["error"]) == ("error", told, "invalid_argument")
    assert answer["message"] and fingerprint() == before


def test_what_is_no_json_is_said_to_be_none(client, thread):
    response = client.generic("POST", f"/threads/{thread.pk}/commands", b"{", content_type="application/json")
    assert response.status_code == 400 and "JSON" in response.json()["detail"]


def test_a_command_may_hold_more_than_is_known(client, thread):
    command = {"id": 2**53 - 1, "method": "state.get", "trace": {"a": 1}}
    answer = client.post(f"/threads/{thread.pk}/commands", command).json()
    assert (answer["type"], answer["id"]) == ("success", 2**53 - 1)


@pytest.mark.parametrize("method", ["run.stop", "state", "RUN.START", "x" * 10_000])
def test_a_command_that_there_is_not(client, thread, method):
    assert refused(client, thread, method)[0] == "unknown_command"


@pytest.mark.parametrize("method", ["subscribe", "unsubscribe", "reconnect"])
def test_a_request_has_no_subscriptions(client, thread, method):
    assert refused(client, thread, f"subscription.{method}", channels=["values"])[0] == "not_supported"


@pytest.mark.parametrize(
    ("method", "needs"),
    [
        ("run.start", "runs:create"),
        ("input.respond", "runs:create"),
        ("input.inject", "threads:write"),
        ("state.fork", "runs:create"),
    ],
)
def test_who_only_reads_can_not_change_anything(client, alice, acme, waiting, engine, method, needs):
    viewer = User.objects.create_user("vera@acme.test")
    add_member(acme, viewer, Role.VIEWER)
    Thread.objects.update(shared=True)
    code, message = refused(api_client(viewer), waiting, method)
    assert code == "permission_denied" and needs in message
    assert engine.questions == []


# run.start


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


# input.respond


def respond(client: APIClient, thread: Thread, **params: Any) -> Run:
    return Run.objects.get(pk=result(client, thread, "input.respond", **params)["run_id"])


def test_an_interrupt_is_answered(client, waiting):
    answer = send(
        client,
        waiting,
        "input.respond",
        namespace=["child:1"],
        interruptId=ASK,
        response={"go": True},
        config={"tags": ["a"]},
        metadata={"b": 1},
        update={"c": 2},
        goto=[{"node": "one", "input": 1}, "two"],
    )
    assert answer["meta"] == {"applied_through_seq": 5}
    run = Run.objects.get(pk=answer["result"]["run_id"])
    assert run.kwargs["command"] == {
        "resume": {ASK: {"go": True}},
        "update": {"c": 2},
        "goto": [{"node": "one", "input": 1}, "two"],
    }
    assert run.kwargs["strict_resume"] is True and run.kwargs["event_streaming"] is True
    assert run.kwargs["config"]["tags"] == ["a"] and run.metadata["b"] == 1
    assert run.kwargs["on_disconnect"] == "continue"


def test_several_interrupts_are_answered_at_once(client, alice):
    thread = waits(alice, ASK, OTHER)
    responses = [
        {"interrupt_id": ASK, "response": 1, "namespace": []},
        {"interruptId": OTHER, "response": None, "namespace": ["child"]},
    ]
    run = respond(client, thread, responses=responses, update=[["a", 1]])
    assert run.kwargs["command"] == {"resume": {ASK: 1, OTHER: None}, "update": [["a", 1]]}


def test_one_of_several_interrupts_may_be_answered(client, alice):
    run = respond(client, waits(alice, ASK, OTHER), interrupt_id=OTHER, response="x", namespace=[])
    assert run.kwargs["command"] == {"resume": {OTHER: "x"}}


@pytest.mark.parametrize("made_for", ["assistant_id", "graph_id"])
def test_an_answer_is_for_the_assistant_that_asked(client, alice, made_for):
    own = client.post("/assistants", {"graph_id": "echo"}).json()["assistant_id"]
    thread = waits(alice, ASK, assistant=Assistant.objects.get(pk=own))
    assert str(respond(client, thread, interrupt_id=ASK, response=1).assistant_id) == own
    Run.objects.all().delete()
    interrupts = {"task": [{"id": ASK}]}
    copied = make_thread(tenant_of(alice), interrupts=interrupts, graph_id="echo", settled_status="interrupted")
    engine = FakeEngine()
    copied.metadata = {"assistant_id": own} if made_for == "assistant_id" else {}
    copied.save()
    engine.answers["state"] = STATE | {"tasks": [{"id": "task", "interrupts": interrupts["task"]}]}
    with installed(engine):
        run = respond(client, copied, interrupt_id=ASK, response=1)
    assert (str(run.assistant_id) == own) == (made_for == "assistant_id")


def test_a_run_that_is_gone_may_have_got_past_what_the_one_before_it_asked(client, alice, engine):
    thread = waits(alice, ASK)
    make_run(tenant_of(alice), thread, status=RunStatus.INTERRUPTED).delete()
    answer = send(client, thread, "input.respond", interrupt_id=ASK, response=1)
    assert answer["error"] == "no_such_interrupt" and len(engine.questions) == 1


def test_a_run_that_was_undone_has_not_asked(client, alice, engine):
    thread = waits(alice, ASK)
    make_run(tenant_of(alice), thread, status=RunStatus.ERROR, graph_id="stress", cancel_action=CancelAction.ROLLBACK)
    engine.answers["state"] = STATE | {"tasks": [{"id": "task", "interrupts": [{"id": ASK}]}]}
    assert respond(client, thread, interrupt_id=ASK, response=1).graph_id == "echo"


def test_the_assistant_that_asked_may_be_gone(client, alice):
    thread = waits(alice, ASK, assistant=None)
    code, message = refused(client, thread, "input.respond", interrupt_id=ASK, response=1)
    assert (code, message) == ("invalid_argument", "Assistant not found.")


def test_an_interrupt_that_does_not_wait_is_not_answered(client, alice, waiting, thread, engine):
    make_run(tenant_of(alice), thread, status=RunStatus.SUCCESS)
    unknown = ("no_such_interrupt", f"Unknown or already-consumed interrupt: {OTHER}")
    assert refused(client, waiting, "input.respond", interrupt_id=OTHER, response=1) == unknown
    assert refused(client, thread, "input.respond", interrupt_id=OTHER, response=1) == unknown
    both = [{"interrupt_id": ASK, "response": 1}, {"interrupt_id": OTHER, "response": 1}]
    assert refused(client, waiting, "input.respond", responses=both) == unknown


def test_an_interrupt_is_answered_once(client, waiting):
    respond(client, waiting, interrupt_id=ASK, response=1)
    consumed = ("no_such_interrupt", f"Unknown or already-consumed interrupt: {ASK}")
    assert refused(client, waiting, "input.respond", interrupt_id=ASK, response=2) == consumed


@pytest.mark.parametrize("still", [True, False])
def test_a_run_that_was_cancelled_may_have_got_past_its_interrupt(client, alice, engine, still):
    thread = waits(alice, ASK, status=RunStatus.INTERRUPTED)
    task = {"id": "task", "interrupts": [{"id": ASK}] if still else []}
    engine.answers["state"] = STATE | {"tasks": [task]}
    answer = send(client, thread, "input.respond", interrupt_id=ASK, response=1)
    assert (answer["type"] == "success") == still
    assert still or answer["error"] == "no_such_interrupt"


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"interrupt_id": ASK},
        {"response": 1},
        {"namespace": []},
        {"responses": []},
        {"responses": [{"interrupt_id": ASK}]},
        {"responses": [{"interrupt_id": ASK, "response": 1}], "interrupt_id": ASK, "response": 1},
        {"responses": [{"interrupt_id": ASK, "response": 1}, {"interrupt_id": ASK, "response": 2}]},
        {"interrupt_id": ASK, "response": 1, "resume": 1},
        {"interrupt_id": ASK, "response": 1, "goto": {"nod": 1}},
        {"interrupt_id": ASK, "response": 1, "update": 1},
        {"interrupt_id": ASK, "response": 1, "namespace": "x"},
    ],
    ids=str,
)
def test_an_answer_is_whole(client, waiting, params):
    assert refused(client, waiting, "input.respond", **params)[0] == "invalid_argument"


# input.inject

SAID = {"role": "user", "content": "hello"}


def test_what_is_said_to_a_busy_thread_is_a_run_of_the_same_assistant(client, alice, thread, engine):
    own = client.post("/assistants", {"graph_id": "echo"}).json()["assistant_id"]
    make_run(tenant_of(alice), thread, status=RunStatus.RUNNING, assistant=Assistant.objects.get(pk=own))
    make_run(tenant_of(alice), thread)
    assert send(client, thread, "input.inject", namespace=[], message=SAID) == {
        "type": "success",
        "id": 7,
        "result": {},
    }
    run = Run.objects.order_by("-position")[0]
    assert (str(run.assistant_id), run.status, run.multitask_strategy) == (own, "pending", "enqueue")
    assert run.kwargs["input"] == {"messages": [SAID]}
    assert engine.questions == []


def test_what_is_said_before_the_first_run_has_begun_is_a_run_too(client, alice, thread):
    make_run(tenant_of(alice), thread)
    assert result(client, thread, "input.inject", namespace=[], message=SAID | {"role": "system", "name": "x"}) == {}
    assert Run.objects.count() == 2


def test_what_is_said_to_an_idle_thread_is_written_into_its_state(client, alice, engine):
    thread = waits(alice)
    assert result(client, thread, "input.inject", namespace=[], message=SAID) == {}
    [(method, params)] = engine.questions
    assert (method, params["values"]) == ("update", {"messages": [SAID]})
    assert Run.objects.count() == 1


def test_a_message_is_for_the_root_graph(client, thread):
    assert refused(client, thread, "input.inject", namespace=["child"], message=SAID)[0] == "not_supported"


def test_a_graph_may_not_take_messages(client, alice, engine):
    engine.error = CallRefused(422, "The state can not be updated so: InvalidUpdateError")
    thread = waits(alice)
    answer = send(client, thread, "input.inject", namespace=[], message=SAID)
    assert (answer["error"], answer["message"]) == ("invalid_argument", engine.error.detail)


def test_a_thread_without_a_graph_takes_no_message(client, thread):
    assert refused(client, thread, "input.inject", namespace=[], message=SAID)[0] == "invalid_argument"


@pytest.mark.parametrize(
    "message", [None, {}, {"role": "ai", "content": "x"}, {"role": "user"}, SAID | {"id": "x"}, {"role": "user"}]
)
def test_a_message_is_whole(client, thread, message):
    assert refused(client, thread, "input.inject", namespace=[], message=message)[0] == "invalid_argument"


def test_who_may_write_but_not_run_starts_no_run(client, alice, thread):
    make_run(tenant_of(alice), thread)
    limited = replace(tenant_of(alice), permissions=frozenset({"threads:read", "threads:write"}))
    command = Command(id=1, method="input.inject", params={"message": SAID})
    before = fingerprint()
    with pytest.raises(CommandFailed) as failed:
        perform(limited, thread.pk, command)
    assert failed.value.code == "permission_denied" and "runs:create" in failed.value.message
    assert fingerprint() == before


# agent.getTree


def log(run: Run, *records: Any) -> None:
    first = run.thread.last_seq + 1
    run.thread.last_seq += len(records)
    run.thread.save()
    EventChunk.objects.create(
        thread=run.thread, run=run, first_seq=first, last_seq=run.thread.last_seq, payload=pack(records)
    )


def tree(client: APIClient, thread: Thread, **params: Any) -> Any:
    return result(client, thread, "agent.getTree", **params)["tree"]


def test_a_tree_has_the_graphs_that_a_run_has_started(client, alice, thread):
    run = make_run(tenant_of(alice), thread, status=RunStatus.RUNNING)
    log(run, record("metadata", {"run_id": str(run.pk)}), record("values", {"end": "lifecycle"}))
    started = {"event": "started", "graph_name": "child"}
    log(
        run,
        record("lifecycle", started | {"namespace": ["a:1"]}, ["a:1"]),
        record("lifecycle", {"event": "started"}, ["a:1", "b:2"]),
        record("lifecycle", {"event": "completed"}, ["a:1", "b:2"]),
        record("values", {}, ["c:3"]),
    )
    assert tree(client, thread) == {
        "namespace": [],
        "status": "running",
        "graph_name": "echo",
        "metadata": {"run_id": str(run.pk)},
        "children": [
            {
                "namespace": ["a:1"],
                "status": "started",
                "graph_name": "child",
                "children": [
                    {"namespace": ["a:1", "b:2"], "status": "completed", "graph_name": "b", "children": []},
                ],
            }
        ],
    }


@pytest.mark.parametrize(
    ("status", "end", "shown"),
    [
        (RunStatus.SUCCESS, {}, "completed"),
        (RunStatus.SUCCESS, {"waits": True}, "interrupted"),
        (RunStatus.ERROR, {"error": "x"}, "failed"),
        (RunStatus.TIMEOUT, {}, "failed"),
        (RunStatus.INTERRUPTED, {"cancelled": True}, "failed"),
        (RunStatus.INTERRUPTED, {"cancelled": True, "superseded": True}, "interrupted"),
        (RunStatus.ERROR, {"cancelled": True, "superseded": True}, "interrupted"),
    ],
)
def test_a_run_that_has_ended_is_shown_as_its_end(client, alice, thread, status, end, shown):
    run = make_run(tenant_of(alice), thread, status=status)
    child = record("lifecycle", {"event": "started"}, ["a:1"])
    done = record("lifecycle", {"event": "completed"}, ["b:1"])
    log(run, child, done, record("end", {"status": status} | end))
    found = tree(client, thread)
    assert [found["status"], *(node["status"] for node in found["children"])] == [shown, shown, "completed"]


@pytest.mark.parametrize("status", [RunStatus.PENDING, RunStatus.SUCCESS])
def test_a_run_without_events_is_shown_as_its_row(client, alice, thread, status):
    make_run(tenant_of(alice), thread, status=status)
    shown = {RunStatus.PENDING: "started", RunStatus.SUCCESS: "completed"}
    assert (tree(client, thread)["status"], tree(client, thread)["children"]) == (shown[status], [])


def test_a_tree_is_of_the_run_that_is_named_or_active_or_was_last(client, alice, thread):
    ended = [make_run(tenant_of(alice), thread, status=RunStatus.SUCCESS) for _ in range(2)]

    def shown(**params: Any) -> str:
        return tree(client, thread, **params)["metadata"]["run_id"]

    assert shown() == str(ended[1].pk)
    pending = [make_run(tenant_of(alice), thread) for _ in range(2)]
    assert shown() == str(pending[0].pk)
    Run.objects.filter(pk=pending[1].pk).update(status=RunStatus.RUNNING)
    assert shown() == str(pending[1].pk)
    assert shown(run_id=str(ended[0].pk)) == shown(runId=str(ended[0].pk)) == str(ended[0].pk)


def test_there_is_no_tree_of_a_run_that_there_is_not(client, alice, charlie, thread):
    foreign = make_run(tenant_of(charlie))
    elsewhere = make_run(tenant_of(alice))
    none = ("no_such_run", "Run not found.")
    assert refused(client, thread, "agent.getTree") == none
    for run_id in (str(foreign.pk), str(elsewhere.pk), str(new_id()), "x", ""):
        assert refused(client, thread, "agent.getTree", run_id=run_id) == none
    for thread_id in (foreign.thread_id, str(new_id()), "a.b"):
        assert refused(client, thread_id, "agent.getTree") == none
        assert refused(client, thread_id, "agent.getTree", run_id=str(foreign.pk)) == none


def test_a_long_tree_is_read_to_its_end(client, alice, thread):
    run = make_run(tenant_of(alice), thread, status=RunStatus.RUNNING)
    for number in range(250):
        log(run, record("lifecycle", {"event": "started"}, [f"a:{number}"]))
    assert len(tree(client, thread)["children"]) == 250


# state.get, state.listCheckpoints, state.fork


def test_a_state_is_got(client, waiting, engine):
    engine.answers["state"] = STATE | {"values": {"a": 1, "b": 2}}
    checkpoint = {"id": CHECKPOINT}
    assert result(client, waiting, "state.get", namespace=[]) == {"values": {"a": 1, "b": 2}, "checkpoint": checkpoint}
    assert result(client, waiting, "state.get", namespace=[], keys=["b", "c"])["values"] == {"b": 2}


def test_a_state_of_a_subgraph_is_got(client, waiting, engine):
    found = result(client, waiting, "state.get", namespace=["a:1", "b:2"])
    assert found["checkpoint"] == {"id": CHECKPOINT, "ns": "a:1|b:2"}
    assert [params["checkpoint"]["checkpoint_ns"] for _, params in engine.questions] == ["a:1|b:2"] * 2


def test_a_thread_that_has_not_run_has_an_empty_state(client, thread):
    assert result(client, thread, "state.get", namespace=[]) == {"values": {}}
    assert result(client, thread, "state.listCheckpoints") == {"checkpoints": []}


@pytest.mark.parametrize("method", ["state.get", "state.listCheckpoints"])
def test_there_is_no_state_of_a_namespace_that_there_is_not(client, thread, waiting, engine, method):
    assert refused(client, thread, method, namespace=["a"])[0] == "no_such_namespace"
    engine.answers["has_checkpoint"] = False
    assert refused(client, waiting, method, namespace=["a"])[0] == "no_such_namespace"


def state(number: int, *tasks: str) -> Any:
    return STATE | {
        "checkpoint_id": f"c{number}",
        "parent_checkpoint_id": f"c{number - 1}",
        "metadata": {"source": "loop", "step": number},
        "tasks": [{"name": name} for name in tasks],
    }


def test_checkpoints_are_listed_with_what_led_to_them(client, waiting, engine):
    engine.answers["history"] = [state(3), state(2, "one", "two"), state(1, "one"), state(0, "zero")]
    engine.answers["history"] += [state(-1, "zero"), state(-2, "input")]
    engine.answers["history"][3]["metadata"]["source"] = "update"
    found = result(client, waiting, "state.listCheckpoints", limit=5, before="c4", namespace=[])["checkpoints"]
    assert found[0] == {
        "id": "c3",
        "timestamp": STATE["created_at"],
        "step": 3,
        "metadata": {"source": "loop", "step": 3},
    }
    assert [each.get("node_name") for each in found] == [None, "one", "zero", None, "input"]
    method, params = engine.questions[-1]
    assert (method, params["limit"], params["before"]) == ("history", 6, {"checkpoint_id": "c4"})


def test_checkpoints_are_not_listed_before_one_that_there_is_not(client, waiting, engine):
    engine.answers["has_checkpoint"] = False
    assert refused(client, waiting, "state.listCheckpoints", before="x")[0] == "no_such_checkpoint"


@pytest.mark.parametrize("params", [{"limit": 0}, {"limit": 1001}, {"before": ""}, {"namespace": "a"}, {"keys": []}])
def test_a_list_of_checkpoints_is_asked_for_rightly(client, waiting, engine, params):
    assert refused(client, waiting, "state.listCheckpoints", **params)[0] == "invalid_argument"


def test_a_run_forks_from_a_checkpoint(client, waiting, engine):
    answer = send(
        client, waiting, "state.fork", checkpointId=CHECKPOINT, input={"a": 1}, config={"configurable": {"b": 2}}
    )
    run = Run.objects.order_by("-position")[0]
    assert answer["result"] == {"run_id": str(run.pk), "thread_id": waiting.pk}
    assert answer["meta"] == {"applied_through_seq": 5}
    assert (run.kwargs["input"], run.kwargs["command"]) == ({"a": 1}, None)
    assert run.kwargs["config"]["configurable"].items() >= {"b": 2, "checkpoint_id": CHECKPOINT}.items()


def test_no_run_forks_from_a_checkpoint_that_there_is_not(client, waiting, engine):
    engine.answers["has_checkpoint"] = False
    assert refused(client, waiting, "state.fork", checkpoint_id="x")[0] == "no_such_checkpoint"
    assert refused(client, waiting, "state.fork")[0] == "invalid_argument"


def test_no_run_forks_on_a_thread_that_never_ran(client, thread):
    assert refused(client, thread, "state.fork", checkpoint_id="x") == ("invalid_argument", "Assistant not found.")


# Keys.


def once(client: APIClient, thread: Thread, key: str, **command: Any) -> Any:
    return client.post(f"/threads/{thread.pk}/commands", command, headers={"Idempotency-Key": key}).json()


def test_a_key_starts_one_run(client, thread):
    params = {"assistant_id": "echo", "input": {}}
    first, again = (once(client, thread, "k", id=number, method="run.start", params=params) for number in (1, 2))
    assert (first["id"], again["id"]) == (1, 2) and first["result"] == again["result"]
    other = once(client, thread, "k", id=1, method="run.start", params=params | {"input": 1})
    assert other["error"] == "invalid_argument" and "Idempotency-Key" in other["message"]
    assert Run.objects.count() == 1


def test_a_key_answers_one_interrupt_once(client, waiting):
    command = {"id": 1, "method": "input.respond", "params": {"interrupt_id": ASK, "response": 1}}
    first, again = (once(client, waiting, "k", **command) for _ in range(2))
    assert first["result"] == again["result"] and Run.objects.count() == 2


def test_a_command_that_failed_uses_up_no_key(client, thread):
    failed = once(client, thread, "k", id=1, method="run.start", params={"assistant_id": "nobody"})
    assert failed["type"] == "error"
    assert once(client, thread, "k", id=1, method="run.start", params={"assistant_id": "echo"})["type"] == "success"


def test_what_a_key_made_may_be_gone(client, thread):
    command = {"id": 1, "method": "run.start", "params": {"assistant_id": "echo"}}
    once(client, thread, "k", **command)
    Run.objects.all().delete()
    assert once(client, thread, "k", **command)["error"] == "unknown_error"


# Nobody there, nobody's, nothing at all.

EACH = {
    "run.start": {"assistant_id": "echo", "input": {}},
    "input.respond": {"interrupt_id": ASK, "response": 1},
    "input.inject": {"namespace": [], "message": SAID},
    "agent.getTree": {},
    "state.get": {"namespace": []},
    "state.listCheckpoints": {},
    "state.fork": {"checkpoint_id": CHECKPOINT},
}


@pytest.mark.parametrize("method", EACH)
def test_somebody_elses_thread_is_as_one_that_there_is_not(client, charlie, bob, engine, alice, method):
    for user in (charlie, bob):
        foreign = waits(user, ASK)
        answers = {refused(client, foreign, method, **EACH[method])}
        if method != "run.start":
            answers.add(refused(client, str(new_id()), method, **EACH[method]))
        assert len(answers) == 1
        assert answers <= {("invalid_argument", "Thread not found."), ("no_such_run", "Run not found.")}
    assert engine.questions == []


@pytest.mark.parametrize("method", sorted(EACH.keys() - {"run.start"}))
def test_an_id_that_is_none_is_not_found(client, alice, engine, method):
    # With a slash it is another address.
    for odd in [odd for odd in ODD_IDS if "%2f" not in odd]:
        code, message = refused(client, odd, method, **EACH[method])
        assert (code, message) in [("invalid_argument", "Thread not found."), ("no_such_run", "Run not found.")]
    assert engine.questions == []


@pytest.mark.parametrize("method", ["state.get", "state.listCheckpoints", "state.fork", "input.inject"])
@pytest.mark.parametrize("error", [NoEngine(), CallRefused(503, "no")])
def test_without_an_engine_it_is_worth_trying_again(client, alice, engine, method, error):
    thread = waits(alice, ASK)
    engine.error = error
    body = {"id": 1, "method": method, "params": EACH[method]}
    response = client.post(f"/threads/{thread.pk}/commands", body)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert Run.objects.count() == 1


def test_a_thread_that_is_being_made_takes_no_command(client, alice):
    thread = make_thread(tenant_of(alice), temporary=True)
    assert refused(client, thread, "run.start", assistant_id="echo")[0] == "unknown_error"


def test_a_graph_that_is_gone_is_named(client, waiting):
    Graph.objects.update(error="gone")
    code, message = refused(client, waiting, "input.respond", interrupt_id=ASK, response=1)
    assert code == "invalid_argument" and "gone" in message


def test_the_reference_names_every_command_and_every_code():
    page = (site.BASE_DIR / "docs" / "reference" / "api.md").read_text()
    assert [name for name in [*EACH, *ErrorCode] if f"`{name}`" not in page] == []


@within_one_test
@given(method=st.sampled_from(sorted(EACH)), odd=bodies, on_top=st.booleans())
def test_no_params_are_a_failure_of_the_server(client, engine, waiting, method, odd, on_top):
    params = EACH[method] | odd if on_top and isinstance(odd, dict) else odd
    before = (fingerprint(), len(engine.questions))
    response = client.generic(
        "POST",
        f"/threads/{waiting.pk}/commands",
        json.dumps({"id": 1, "method": method, "params": params}),
        content_type="application/json",
    )
    assert response.status_code in (200, 400, 422)
    answer = response.json()
    if response.status_code != 200 or answer["type"] == "error":
        assert (answer.get("message") or answer["detail"]) and answer.get("error", "") in ["", *ErrorCode]
        if not any(asked == "update" for asked, _ in engine.questions[before[1] :]):
            assert fingerprint() == before[0]
