"""Claiming: whose turn it is, and that nobody else has it."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import orjson
import pytest
from django.conf import settings
from django.db import IntegrityError, connection
from django.utils import timezone

from accounts.tenancy import Tenant
from runs import lifecycle
from runs.lifecycle import CLAIM_BATCH, Attempt
from runs.models import EventChunk, Run, Thread
from runs.records import unpack
from runs.signals import chunks_committed
from runs.states import RunStatus, ThreadStatus
from tests.factories import chunks_of, make_run, make_thread
from tests.fakes import heard

pytestmark = pytest.mark.django_db(transaction=True)


def claimed(limit: int = 10) -> list[object]:
    return [attempt.run_id for attempt in lifecycle.claim("host", limit)]


def end(run: Run) -> None:
    Run.objects.filter(pk=run.pk).update(status=RunStatus.SUCCESS, claim=None)


def test_a_claimed_run_runs_with_a_lease(tenant: Tenant) -> None:
    run = make_run(tenant)
    before = timezone.now()
    (attempt,) = lifecycle.claim("host", 10)
    run.refresh_from_db()
    assert (run.status, run.claim, run.attempt, run.host) == (RunStatus.RUNNING, attempt.claim, 1, "host")
    lease = timedelta(seconds=settings.LEASE_SECONDS)
    # The database's clock has milliseconds.
    assert before + lease - timedelta(milliseconds=1) <= run.lease_until <= timezone.now() + lease
    assert attempt == Attempt(
        run_id=run.pk,
        claim=run.claim,
        attempt=1,
        crashes=0,
        position=1,
        thread_id=run.thread_id,
        graph_id="echo",
        organization_id=tenant.organization_id,
        owner_id=tenant.user_id,
        kwargs=run.kwargs,
    )


def test_each_attempt_is_counted_and_announced(tenant: Tenant) -> None:
    run = make_run(tenant, attempt=2, crashes=1)
    with heard(chunks_committed) as commits:
        (attempt,) = lifecycle.claim("host", 10)
    assert (attempt.attempt, attempt.crashes) == (3, 1)
    ((seq, record),) = unpack(chunks_of(run.thread_id)[0])
    assert (seq, record.method) == (1, "metadata")
    assert orjson.loads(record.data) == {
        "run_id": str(run.pk),
        "thread_id": run.thread_id,
        "attempt": 3,
        "graph_id": "echo",
    }
    assert commits[0]["chunks"] == chunks_of(run.thread_id)


def test_the_oldest_come_first(tenant: Tenant) -> None:
    runs = [make_run(tenant) for _ in range(3)]
    Run.objects.filter(pk=runs[2].pk).update(created_at=timezone.now() - timedelta(hours=1))
    assert claimed(2) == [runs[2].pk, runs[0].pk]
    assert claimed(2) == [runs[1].pk]
    assert claimed(2) == []


def test_runs_of_a_thread_take_turns_in_the_order_of_their_creation(tenant: Tenant) -> None:
    thread = make_thread(tenant)
    runs = [make_run(tenant, thread) for _ in range(3)]
    # Their turn counts, not the clock.
    Run.objects.filter(pk=runs[2].pk).update(created_at=timezone.now() - timedelta(hours=1))
    for run in runs:
        assert claimed() == [run.pk]
        assert claimed() == []
        end(run)


def test_a_run_given_back_goes_before_later_ones(tenant: Tenant) -> None:
    thread = make_thread(tenant)
    first, _ = make_run(tenant, thread), make_run(tenant, thread)
    (attempt,) = lifecycle.claim("host", 10)
    lifecycle.release([(attempt.run_id, attempt.claim)], crashed=False)
    assert claimed() == [first.pk]


def test_a_delayed_run_is_not_claimed_before_its_time(tenant: Tenant) -> None:
    make_run(tenant, not_before=timezone.now() + timedelta(minutes=1))
    due = make_run(tenant, not_before=timezone.now() - timedelta(seconds=1))
    assert claimed() == [due.pk]


def test_a_delayed_run_keeps_later_ones_of_its_thread_waiting(tenant: Tenant) -> None:
    thread = make_thread(tenant)
    delayed, later = (
        make_run(tenant, thread, not_before=timezone.now() + timedelta(minutes=1)),
        make_run(tenant, thread),
    )
    assert claimed() == []
    end(delayed)
    assert claimed() == [later.pk]


@pytest.mark.parametrize("status", [status for status in RunStatus if status != RunStatus.PENDING])
def test_only_pending_runs_are_claimed(tenant: Tenant, status: RunStatus) -> None:
    make_run(tenant, status=status)
    assert claimed() == []


def test_a_claim_that_fails_leaves_the_run_as_it_was(tenant: Tenant) -> None:
    run = make_run(tenant)
    # The number of its first event is taken.
    EventChunk.objects.create(thread=run.thread, run=run, first_seq=1, last_seq=1, payload=b"")
    with heard(chunks_committed) as commits, pytest.raises(IntegrityError):
        lifecycle.claim("host", 10)
    run.refresh_from_db()
    assert (run.status, run.attempt, run.claim) == (RunStatus.PENDING, 0, None)
    assert Thread.objects.get().last_seq == 0 and not commits


def test_hosts_that_claim_at_once_never_share_a_run_or_a_thread(tenant: Tenant) -> None:
    threads = [make_thread(tenant) for _ in range(6)]
    for thread in threads * 3:
        make_run(tenant, thread)

    def work(host: str) -> list[Attempt]:
        try:
            attempts = []
            while Run.objects.filter(status=RunStatus.PENDING).exists():
                taken = lifecycle.claim(host, 2)
                shared = Run.objects.filter(status=RunStatus.RUNNING).values_list("thread_id", flat=True)
                assert max(Counter(shared).values(), default=0) <= 1
                attempts += taken
                for attempt in taken:
                    outcome = lifecycle.Outcome(RunStatus.SUCCESS)
                    lifecycle.write(
                        [lifecycle.Write(attempt.run_id, attempt.claim, attempt.thread_id, outcome=outcome)]
                    )
            return attempts
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        found = [attempt for attempts in pool.map(work, map(str, range(6))) for attempt in attempts]
    assert Counter(attempt.run_id for attempt in found) == dict.fromkeys(Run.objects.values_list("pk", flat=True), 1)
    assert all(attempt.attempt == 1 for attempt in found)
    for thread in threads:
        positions = [attempt.position for attempt in found if attempt.thread_id == thread.pk]
        assert sorted(positions) == [1, 2, 3]
    assert not Thread.objects.exclude(status=ThreadStatus.IDLE).exists()


def test_a_heartbeat_renews_the_leases_of_those_that_are_held(tenant: Tenant) -> None:
    held, other = make_run(tenant, status=RunStatus.RUNNING), make_run(tenant, status=RunStatus.RUNNING)
    soon = timezone.now() + timedelta(seconds=1)
    Run.objects.update(lease_until=soon)
    assert lifecycle.heartbeat([(held.pk, held.claim)]) == {(held.pk, held.claim): ""}
    for run in (held, other):
        run.refresh_from_db()
    assert held.lease_until > timezone.now() + timedelta(seconds=settings.LEASE_SECONDS - 5)
    assert other.lease_until == soon


def test_a_heartbeat_misses_what_was_taken_away(tenant: Tenant) -> None:
    taken, ended = make_run(tenant, status=RunStatus.RUNNING), make_run(tenant, status=RunStatus.RUNNING)
    kept = make_run(tenant, status=RunStatus.RUNNING, cancel_action="interrupt")
    claims = [(run.pk, run.claim) for run in (taken, ended, kept)]
    soon = timezone.now() + timedelta(seconds=1)
    Run.objects.filter(pk=taken.pk).update(claim=kept.pk, lease_until=soon)
    Run.objects.filter(pk=ended.pk).update(status=RunStatus.SUCCESS)
    assert lifecycle.heartbeat(claims) == {claims[2]: "interrupt"}
    taken.refresh_from_db()
    assert taken.lease_until == soon
    assert lifecycle.heartbeat([]) == {}


def test_a_host_claims_runs_of_its_graphs_only_however_many_others_wait(tenant: Tenant) -> None:
    for _ in range(CLAIM_BATCH + 1):
        make_run(tenant, graph_id="of-another-host")
    mine = make_run(tenant, graph_id="mine")
    assert [attempt.run_id for attempt in lifecycle.claim("host", 10, ["mine", "not here"])] == [mine.pk]
    assert lifecycle.claim("host", 10, ["mine"]) == [] == lifecycle.claim("host", 10, [])
    assert len(lifecycle.claim("host", 1000)) == CLAIM_BATCH
