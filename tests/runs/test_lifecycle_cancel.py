"""Cancelling: a row first. What it does depends on the state that the run is in."""

import pytest
from django.db import transaction

from accounts.tenancy import Tenant
from runs import lifecycle
from runs.lifecycle import CancelResult
from runs.models import Run, Thread
from runs.signals import cancel_requested, chunks_committed, runs_pending
from runs.states import CancelAction, RunStatus, ThreadStatus
from tests.factories import chunks_of, make_run, make_thread
from tests.fakes import heard, numbered

pytestmark = pytest.mark.django_db(transaction=True)


def cancel(run: Run) -> CancelResult:
    result = lifecycle.request_cancel(run.pk, run.thread_id, CancelAction.INTERRUPT)
    run.refresh_from_db()
    return result


def test_a_pending_run_is_over_at_once(tenant: Tenant) -> None:
    run = make_run(tenant)
    with heard(chunks_committed) as commits, heard(runs_pending) as pending:
        assert cancel(run) is CancelResult.SETTLED
    assert (run.status, run.cancel_action) == (RunStatus.INTERRUPTED, "interrupt")
    assert run.cancel_requested_at is not None and run.ended_at is not None
    assert numbered(chunks_of(run.thread_id)) == [(1, "cancel"), (2, "end")]
    assert [sending["chunks"] for sending in commits] == [chunks_of(run.thread_id)]
    assert Thread.objects.get().status == ThreadStatus.INTERRUPTED
    assert pending


def test_a_cancelled_run_lets_the_next_one_of_its_thread_go(tenant: Tenant) -> None:
    thread = make_thread(tenant)
    run, next_run = make_run(tenant, thread), make_run(tenant, thread)
    cancel(run)
    assert Thread.objects.get().status == ThreadStatus.BUSY
    assert [attempt.run_id for attempt in lifecycle.claim("host", 10)] == [next_run.pk]


def test_a_running_run_is_asked_to_stop(tenant: Tenant) -> None:
    run = make_run(tenant, status=RunStatus.RUNNING)
    with heard(cancel_requested) as cancels:
        assert cancel(run) is CancelResult.REQUESTED
    assert (run.status, run.cancel_action) == (RunStatus.RUNNING, "interrupt")
    assert run.cancel_requested_at is not None
    assert chunks_of(run.thread_id) == []
    assert len(cancels) == 1


def test_the_first_cancellation_counts_and_later_ones_wake_the_host_again(tenant: Tenant) -> None:
    run = make_run(tenant, status=RunStatus.RUNNING, cancel_action="rollback")
    with heard(cancel_requested) as cancels:
        assert cancel(run) is CancelResult.REQUESTED
    assert (run.cancel_action, run.cancel_requested_at) == ("rollback", None)
    assert len(cancels) == 1


def test_a_cancelled_run_is_cancelled_already(tenant: Tenant) -> None:
    run = make_run(tenant, status=RunStatus.INTERRUPTED)
    with heard(cancel_requested) as cancels:
        assert cancel(run) is CancelResult.ALREADY
    assert not cancels and chunks_of(run.thread_id) == []


@pytest.mark.parametrize("status", [RunStatus.SUCCESS, RunStatus.ERROR, RunStatus.TIMEOUT])
def test_cancel_of_a_finished_run_changes_nothing(tenant: Tenant, status: RunStatus) -> None:
    run = make_run(tenant, status=status)
    assert cancel(run) is CancelResult.FINISHED
    assert (run.status, run.cancel_action, chunks_of(run.thread_id)) == (status, "", [])


def test_an_unknown_run_can_not_be_cancelled(tenant: Tenant) -> None:
    thread = make_thread(tenant)
    with pytest.raises(Run.DoesNotExist):
        lifecycle.request_cancel(tenant.user_id, thread.pk, CancelAction.INTERRUPT)


@pytest.mark.parametrize("status", [RunStatus.PENDING, RunStatus.RUNNING])
def test_nobody_hears_of_a_cancellation_that_was_rolled_back(tenant: Tenant, status: RunStatus) -> None:
    run = make_run(tenant, status=status)
    with (
        heard(cancel_requested) as cancels,
        heard(chunks_committed) as commits,
        pytest.raises(ZeroDivisionError),
        transaction.atomic(),
    ):
        cancel(run)
        raise ZeroDivisionError
    run.refresh_from_db()
    assert (run.status, run.cancel_action, chunks_of(run.thread_id)) == (status, "", [])
    assert not cancels and not commits
