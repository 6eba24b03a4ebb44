"""The commands that say something to a thread, `input.respond` and `input.inject`, and every way in which they fail."""

from dataclasses import replace
from typing import Any

import pytest
from rest_framework.test import APIClient

from runs.calls import CallRefused
from runs.models import Assistant, Run, Thread
from runs.protocol.commands import Command, CommandFailed
from runs.services.commands import perform
from runs.states import CancelAction, RunStatus
from tests.api.commanding import ASK, OTHER, SAID, refused, result, send, waits
from tests.api.engine import STATE, FakeEngine, installed
from tests.api.rows import fingerprint
from tests.factories import make_run, make_thread, tenant_of

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
