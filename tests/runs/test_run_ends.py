"""What `metadata` and `end` tell of a run, however it ends."""

from typing import Any

import orjson
import pytest
from django.conf import settings

from accounts.tenancy import Tenant
from runs import lifecycle
from runs.lifecycle import ROLLED_BACK, Outcome
from runs.models import Run
from runs.records import unpack
from runs.states import CancelAction, RunStatus
from tests.appending import append
from tests.factories import chunks_of, make_run, make_thread

pytestmark = pytest.mark.django_db(transaction=True)

LONG = {"error": "ValueError", "message": "no " * 1000}


@pytest.fixture
def run(tenant: Tenant) -> Run:
    return make_run(tenant, status=RunStatus.RUNNING, graph_id="deep")


def told(run: Run, method: str) -> list[Any]:
    chunks = [chunk for chunk in chunks_of(run.thread_id) if chunk.run_id == str(run.pk)]
    return [orjson.loads(record.data) for chunk in chunks for _, record in unpack(chunk) if record.method == method]


def end_of(run: Run) -> Any:
    (end,) = told(run, "end")
    return end


def end(run: Run, outcome: Outcome) -> Any:
    assert run.claim
    assert append(run, outcome=outcome)
    return end_of(run)


def test_a_run_begins_with_its_graph(tenant: Tenant) -> None:
    run = make_run(tenant, graph_id="deep")
    lifecycle.claim("host", 10)
    assert told(run, "metadata") == [
        {"run_id": str(run.pk), "thread_id": run.thread_id, "attempt": 1, "graph_id": "deep"}
    ]


@pytest.mark.parametrize(
    ("outcome", "more"),
    [
        (Outcome(RunStatus.SUCCESS), {}),
        (Outcome(RunStatus.SUCCESS, waits_for_input=True), {"waits": True}),
        (Outcome(RunStatus.TIMEOUT, error={"error": "timeout", "message": "late"}), {"error": "late"}),
        (Outcome(RunStatus.INTERRUPTED), {"cancelled": True}),
        (ROLLED_BACK, {"cancelled": True}),
    ],
)
def test_a_run_ends_with_how_it_did(run: Run, outcome: Outcome, more: dict[str, Any]) -> None:
    if outcome.rolled_back:
        lifecycle.request_cancel(run.pk, run.thread_id, CancelAction.ROLLBACK)
    assert end(run, outcome) == {"status": outcome.status, "graph_id": "deep", **more}


def test_what_went_wrong_is_told_in_short(run: Run) -> None:
    data = end(run, Outcome(RunStatus.ERROR, error=LONG))
    assert LONG["message"].startswith(data["error"]) and 0 < len(data["error"]) <= 500
    assert told(run, "error") == [LONG]


@pytest.mark.parametrize("outcome", [Outcome(RunStatus.SUCCESS), Outcome(RunStatus.ERROR, error=LONG)])
def test_a_cancelled_run_is_told_as_one_whatever_its_graph_did(run: Run, outcome: Outcome) -> None:
    lifecycle.request_cancel(run.pk, run.thread_id, CancelAction.INTERRUPT)
    assert end(run, outcome) == {"status": "interrupted", "graph_id": "deep", "cancelled": True}


@pytest.mark.parametrize("action", list(CancelAction))
def test_a_run_that_made_room_for_another_says_so(tenant: Tenant, action: CancelAction) -> None:
    thread = make_thread(tenant)
    first = make_run(tenant, thread, status=RunStatus.RUNNING)
    make_run(tenant, thread)
    lifecycle.request_cancel(first.pk, thread.pk, action)
    outcome = ROLLED_BACK if action is CancelAction.ROLLBACK else Outcome(RunStatus.INTERRUPTED)
    data = end(first, outcome)
    assert (data["cancelled"], data["superseded"]) == (True, True)


def test_a_run_that_ends_by_itself_is_not_superseded(tenant: Tenant) -> None:
    thread = make_thread(tenant)
    first = make_run(tenant, thread, status=RunStatus.RUNNING)
    make_run(tenant, thread)
    assert end(first, Outcome(RunStatus.SUCCESS)) == {"status": "success", "graph_id": "echo"}


@pytest.mark.parametrize("action", list(CancelAction))
def test_a_pending_run_that_is_cancelled_ends_alike(tenant: Tenant, action: CancelAction) -> None:
    run = make_run(tenant, graph_id="deep")
    lifecycle.request_cancel(run.pk, run.thread_id, action)
    status = "error" if action is CancelAction.ROLLBACK else "interrupted"
    assert end_of(run) == {"status": status, "graph_id": "deep", "cancelled": True}


def test_a_run_that_was_lost_too_often_ends_alike(tenant: Tenant) -> None:
    run = make_run(tenant, status=RunStatus.RUNNING, crashes=settings.MAX_ATTEMPTS - 1)
    assert lifecycle.release([(run.pk, run.claim)], crashed=True) == 1
    data = end_of(run)
    assert (data["status"], data["graph_id"]) == ("error", "echo")
    assert "was lost repeatedly" in data["error"]


def test_a_cancelled_run_that_was_lost_ends_alike(tenant: Tenant) -> None:
    run = make_run(tenant, status=RunStatus.RUNNING)
    lifecycle.request_cancel(run.pk, run.thread_id, CancelAction.INTERRUPT)
    lifecycle.release([(run.pk, run.claim)], crashed=True)
    assert end_of(run) == {"status": "interrupted", "graph_id": "echo", "cancelled": True}
