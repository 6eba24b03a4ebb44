"""Rollbacks: the run ends once what it did is undone, by whichever attempt comes to it; its thread is as it was."""

from typing import Any

import pytest
from django.db import transaction
from django.forms.models import model_to_dict

from accounts.tenancy import Tenant
from runs import lifecycle
from runs.lifecycle import ROLLED_BACK, CancelResult, Outcome
from runs.models import Message, Run, Thread
from runs.states import CancelAction, MultitaskStrategy, RunStatus, ThreadStatus
from tests.appending import append
from tests.factories import chunks_of, make_run, make_thread, new_run, place_of
from tests.fakes import numbered

pytestmark = pytest.mark.django_db(transaction=True)

SUCCESS = Outcome(RunStatus.SUCCESS, values=b'{"a":2}', interrupts=b"{}")


@pytest.fixture
def thread(tenant: Tenant) -> Thread:
    waiting = ThreadStatus.INTERRUPTED
    return make_thread(tenant, values={"a": 1}, interrupts={"task": [{"id": "i"}]}, title="t", settled_status=waiting)


def cancel(run: Run, action: CancelAction = CancelAction.ROLLBACK) -> CancelResult:
    result = lifecycle.request_cancel(run.pk, run.thread_id, action)
    run.refresh_from_db()
    return result


def end(run: Run, outcome: Outcome) -> bool:
    run.refresh_from_db()
    assert run.claim
    written = append(run, outcome=outcome) is not None
    run.refresh_from_db()
    return written


def shown(thread: Thread) -> dict[str, Any]:
    thread.refresh_from_db()
    counters = ("last_seq", "last_position", "status")
    return {key: value for key, value in model_to_dict(thread).items() if key not in counters}


def test_a_run_that_never_began_is_over_at_once(tenant: Tenant, thread: Thread) -> None:
    before = shown(thread)
    run = make_run(tenant, thread)
    assert cancel(run) is CancelResult.SETTLED
    assert (run.status, run.error) == (RunStatus.ERROR, ROLLED_BACK.error)
    assert numbered(chunks_of(thread.pk)) == [(1, "cancel"), (2, "end")]
    assert shown(thread) == before | {"graph_id": "echo"} and thread.status == ThreadStatus.INTERRUPTED


def test_a_running_run_ends_when_it_is_undone(tenant: Tenant, thread: Thread) -> None:
    before = shown(thread)
    run = make_run(tenant, thread, status=RunStatus.RUNNING)
    Message.objects.create(thread=thread, run=run, seq=1, kind="human", caller="", message_id="m", content={})
    assert cancel(run) is CancelResult.REQUESTED
    assert end(run, ROLLED_BACK)
    assert (run.status, run.claim) == (RunStatus.ERROR, None)
    assert shown(thread) == before | {"graph_id": "echo"} and thread.status == ThreadStatus.INTERRUPTED
    assert not Message.objects.exists()
    assert cancel(run) is CancelResult.ALREADY


def test_a_run_that_ends_by_itself_first_is_undone_by_another_attempt(tenant: Tenant, thread: Thread) -> None:
    before = shown(thread)
    run = make_run(tenant, thread, status=RunStatus.RUNNING)
    cancel(run)
    assert not end(run, SUCCESS)
    assert (run.status, run.claim) == (RunStatus.PENDING, None)
    [attempt] = lifecycle.claim("host", 10)
    assert (attempt.attempt, attempt.cancel_action) == (2, "rollback")
    assert end(run, ROLLED_BACK)
    assert shown(thread) == before | {"graph_id": "echo"}


@pytest.mark.parametrize("crashes", [0, 9])
@pytest.mark.parametrize("crashed", [True, False])
def test_one_whose_process_is_lost_is_undone_by_another_attempt(tenant: Tenant, crashes: int, crashed: bool) -> None:
    run = make_run(tenant, status=RunStatus.RUNNING, crashes=crashes)
    cancel(run)
    lifecycle.release([(run.pk, run.claim)], crashed=crashed)
    run.refresh_from_db()
    assert (run.status, run.cancel_action) == (RunStatus.PENDING, "rollback")
    assert [attempt.cancel_action for attempt in lifecycle.claim("host", 10)] == ["rollback"]


def test_a_pending_run_that_had_begun_is_undone_by_another_attempt(tenant: Tenant) -> None:
    run = make_run(tenant, attempt=1)
    assert cancel(run) is CancelResult.REQUESTED
    assert cancel(run, CancelAction.INTERRUPT) is CancelResult.REQUESTED
    assert (run.status, run.cancel_action) == (RunStatus.PENDING, "rollback")


def test_an_interrupted_one_is_not_rolled_back_later(tenant: Tenant) -> None:
    run = make_run(tenant, status=RunStatus.RUNNING)
    cancel(run, CancelAction.INTERRUPT)
    cancel(run)
    assert run.cancel_action == "interrupt"
    assert end(run, SUCCESS) and run.status == RunStatus.INTERRUPTED


def test_a_new_run_by_rollback_waits_until_the_old_ones_are_undone(tenant: Tenant, graphs: object) -> None:
    thread = make_thread(tenant)
    running, waiting = make_run(tenant, thread, status=RunStatus.RUNNING), make_run(tenant, thread)
    with transaction.atomic():
        new = lifecycle.add_run(place_of(thread), new_run(tenant, strategy=MultitaskStrategy.ROLLBACK))
    waiting.refresh_from_db()
    assert waiting.status == RunStatus.ERROR
    assert lifecycle.claim("host", 10) == []
    assert end(running, ROLLED_BACK)
    thread.refresh_from_db()
    assert thread.status == ThreadStatus.BUSY
    assert [attempt.run_id for attempt in lifecycle.claim("host", 10)] == [new.run_id]


def test_the_thread_s_graph_is_that_of_the_run_before(tenant: Tenant) -> None:
    thread = make_thread(tenant)
    make_run(tenant, thread, graph_id="stress", status=RunStatus.SUCCESS)
    cancel(make_run(tenant, thread, graph_id="echo"))
    cancel(make_run(tenant, thread, graph_id="echo"))
    thread.refresh_from_db()
    assert thread.graph_id == "stress"


def test_the_thread_s_graph_is_that_of_a_run_that_came_since(tenant: Tenant) -> None:
    thread = make_thread(tenant)
    make_run(tenant, thread, graph_id="echo", status=RunStatus.SUCCESS)
    running = make_run(tenant, thread, graph_id="echo", status=RunStatus.RUNNING)
    make_run(tenant, thread, graph_id="stress")
    cancel(running)
    end(running, ROLLED_BACK)
    thread.refresh_from_db()
    assert thread.graph_id == "stress"


def test_to_undo_takes_no_graph(tenant: Tenant) -> None:
    begun, fresh = make_run(tenant, attempt=1), make_run(tenant)
    cancel(begun)
    assert [attempt.run_id for attempt in lifecycle.claim("host", 10, ["other"])] == [begun.run_id]
    assert [attempt.run_id for attempt in lifecycle.claim("host", 10, ["echo"])] == [fresh.run_id]
