"""Runs whose host lost them: the next attempt, or the end."""

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import orjson
import psycopg
import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from accounts.tenancy import Tenant
from runs import lifecycle
from runs.identifiers import new_id
from runs.lifecycle import Write
from runs.models import Run, Thread
from runs.postgres import connection_parameters
from runs.records import record, unpack
from runs.signals import chunks_committed, runs_pending
from runs.states import RunStatus, ThreadStatus
from tests.factories import chunks_of, make_run
from tests.fakes import heard, numbered

pytestmark = pytest.mark.django_db(transaction=True)


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


# After a start of the database.


def expired_run(tenant: Tenant) -> Run:
    return make_run(tenant, status=RunStatus.RUNNING, lease_until=timezone.now() - timedelta(seconds=1))


def test_a_lease_that_was_renewed_since_the_look_counts(tenant: Tenant) -> None:
    run = expired_run(tenant)
    lifecycle.heartbeat([(run.pk, run.claim)])
    assert lifecycle.release([(run.pk, run.claim)], crashed=True, expired=True) == 0
    run.refresh_from_db()
    assert (run.status, run.crashes) == (RunStatus.RUNNING, 0)


@pytest.mark.many_machines
@pytest.mark.parametrize(
    "statement", ["SELECT 1 FROM runs_thread {} FOR UPDATE", "SELECT 1 FROM runs_run {} FOR SHARE"]
)
def test_a_run_that_somebody_holds_does_not_keep_others_from_being_taken_up(tenant: Tenant, statement: str) -> None:
    held, other = expired_run(tenant), expired_run(tenant)
    with psycopg.connect(**connection_parameters("tests")) as stopped:
        stopped.execute(statement.format("WHERE thread_id = %s"), [held.thread_id])
        assert lifecycle.reap() == 1
    assert Run.objects.get(pk=other.pk).status == RunStatus.PENDING
    assert Run.objects.get(pk=held.pk).status == RunStatus.RUNNING
    assert lifecycle.reap() == 1


# Two who renew the same leases at once.


@pytest.fixture
def runs(tenant: Tenant) -> list[Run]:
    """Claimed runs in the order of their ids; the database has them the other way round."""
    ids = [new_id() for _ in range(6)]
    made = [make_run(tenant, status=RunStatus.RUNNING, run_id=run_id) for run_id in reversed(ids)]
    return made[::-1]


@contextlib.contextmanager
def another() -> "Iterator[psycopg.Connection[Any]]":
    with psycopg.connect(**connection_parameters("tests")) as other:
        yield other


def beat(claims: list[Any]) -> int:
    try:
        return len(lifecycle.heartbeat(claims))
    finally:
        connection.close()


LOCK = "SELECT 1 FROM runs_run WHERE run_id = %s FOR UPDATE NOWAIT"
WAITING = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@pytest.mark.many_machines
def test_leases_are_renewed_in_the_order_of_the_ids(runs: list[Run]) -> None:
    """Whoever waits for a run holds none with a higher id."""
    claims = [(run.pk, run.claim) for run in runs]
    with ThreadPoolExecutor(1) as threads:
        with another() as other, another() as watcher:
            watcher.autocommit = True
            other.execute(LOCK, [runs[0].pk])
            beating = threads.submit(beat, claims[::-1])
            until = time.monotonic() + 20
            while not watcher.execute(WAITING).fetchone():
                assert time.monotonic() < until and not beating.done()
            for run in runs[1:]:
                other.execute(LOCK, [run.pk])
        assert beating.result(20) == 6


@pytest.mark.many_machines
def test_two_who_renew_the_same_leases_never_wait_for_each_other_in_a_ring(runs: list[Run]) -> None:
    claims = [(run.pk, run.claim) for run in runs]
    together = threading.Barrier(2)

    def beat_often(claims: list[Any]) -> set[int]:
        try:
            together.wait(20)
            return {len(lifecycle.heartbeat(claims)) for _ in range(50)}
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as threads:
        beating = [threads.submit(beat_often, order) for order in (claims, claims[::-1])]
        assert [each.result(60) for each in beating] == [{6}, {6}]
