"""Runs whose host lost them: the next attempt, or the end."""

from datetime import timedelta

import orjson
import pytest
from django.conf import settings
from django.utils import timezone

from accounts.models import User
from accounts.tenancy import Tenant
from runs import lifecycle
from runs.lifecycle import Write
from runs.models import Run, Thread
from runs.records import record, unpack
from runs.signals import chunks_committed, runs_pending
from runs.states import RunStatus, ThreadStatus
from tests.factories import chunks_of, make_run, tenant_of
from tests.fakes import heard, numbered

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def tenant(alice: User, acme: object) -> Tenant:
    return tenant_of(alice)


def release(run: Run, *, crashed: bool) -> int:
    released = lifecycle.release([(run.pk, run.claim)], crashed=crashed)
    run.refresh_from_db()
    return released


@pytest.mark.parametrize(("crashed", "crashes"), [(True, 1), (False, 0)])
def test_a_released_run_waits_for_its_next_attempt(tenant: Tenant, crashed: bool, crashes: int) -> None:
    run = make_run(tenant, status=RunStatus.RUNNING)
    with heard(runs_pending) as pending, heard(chunks_committed) as commits:
        assert release(run, crashed=crashed) == 1
    assert (run.status, run.claim, run.lease_until) == (RunStatus.PENDING, None, None)
    assert (run.crashes, run.attempt, run.position) == (crashes, 1, 1)
    assert Thread.objects.get().status == ThreadStatus.BUSY
    assert len(pending) == 1 and not commits
    (attempt,) = lifecycle.claim("host", 10)
    assert (attempt.attempt, attempt.crashes) == (2, crashes)


def test_a_run_that_crashed_too_often_is_given_up(tenant: Tenant) -> None:
    run = make_run(tenant, status=RunStatus.RUNNING, crashes=settings.MAX_ATTEMPTS - 1)
    with heard(chunks_committed) as commits:
        assert release(run, crashed=True) == 1
    assert (run.status, run.error["error"], run.crashes) == (RunStatus.ERROR, "worker_lost", settings.MAX_ATTEMPTS)
    assert numbered(chunks_of(run.thread_id)) == [(1, "error"), (2, "end")]
    assert orjson.loads(next(unpack(chunks_of(run.thread_id)[0]))[1].data) == run.error
    assert Thread.objects.get().status == ThreadStatus.ERROR
    assert [sending["chunks"] for sending in commits] == [chunks_of(run.thread_id)]


def test_a_drain_never_gives_a_run_up(tenant: Tenant) -> None:
    run = make_run(tenant, status=RunStatus.RUNNING, crashes=settings.MAX_ATTEMPTS - 1, attempt=50)
    release(run, crashed=False)
    assert (run.status, run.crashes) == (RunStatus.PENDING, settings.MAX_ATTEMPTS - 1)


@pytest.mark.parametrize("crashed", [True, False])
@pytest.mark.parametrize("crashes", [0, 2])
def test_an_accepted_cancellation_ends_a_lost_run(tenant: Tenant, crashed: bool, crashes: int) -> None:
    run = make_run(tenant, status=RunStatus.RUNNING, cancel_action="interrupt", crashes=crashes)
    release(run, crashed=crashed)
    assert (run.status, run.error) == (RunStatus.INTERRUPTED, None)
    assert numbered(chunks_of(run.thread_id)) == [(1, "cancel"), (2, "end")]


@pytest.mark.parametrize("status", [RunStatus.PENDING, RunStatus.SUCCESS])
def test_only_what_is_held_is_released(tenant: Tenant, status: RunStatus) -> None:
    run = make_run(tenant, status=status)
    assert release(run, crashed=True) == 0
    assert (run.status, run.crashes) == (status, 0)


def test_another_claim_is_not_released(tenant: Tenant) -> None:
    run = make_run(tenant, status=RunStatus.RUNNING)
    with heard(runs_pending) as pending:
        assert lifecycle.release([(run.pk, run.pk)], crashed=True) == 0
        assert lifecycle.release([(run.thread.organization_id, run.claim)], crashed=True) == 0
    assert Run.objects.get().status == RunStatus.RUNNING and not pending


def test_the_attempt_that_was_lost_writes_nothing_more(tenant: Tenant) -> None:
    run = make_run(tenant, status=RunStatus.RUNNING)
    lost = Write(run.pk, run.claim, run.thread_id, [record("values")])
    release(run, crashed=True)
    assert lifecycle.write([lost]) == [None]
    lifecycle.claim("host", 10)
    assert lifecycle.write([lost]) == [None]
    assert numbered(chunks_of(run.thread_id)) == [(1, "metadata")]


def test_the_reaper_takes_expired_runs_only(tenant: Tenant) -> None:
    now = timezone.now()
    runs = {
        "expired": make_run(tenant, status=RunStatus.RUNNING, lease_until=now - timedelta(seconds=1)),
        "leaseless": make_run(tenant, status=RunStatus.RUNNING, lease_until=None),
        "claimless": make_run(tenant, status=RunStatus.RUNNING, lease_until=None, claim=None),
        "leased": make_run(tenant, status=RunStatus.RUNNING, lease_until=now + timedelta(seconds=5)),
        "ended": make_run(tenant, status=RunStatus.SUCCESS, lease_until=now - timedelta(seconds=1)),
    }
    assert lifecycle.reap() == 3
    for run in runs.values():
        run.refresh_from_db()
    assert {name for name, run in runs.items() if run.status == RunStatus.PENDING} == {
        "expired",
        "leaseless",
        "claimless",
    }
    assert (runs["expired"].crashes, runs["leased"].crashes) == (1, 0)
    assert lifecycle.reap() == 0
