"""Deleting runs and threads, active ones too: their readers get an end, their attempts write nothing more."""

import pytest

from accounts.tenancy import Tenant
from runs import lifecycle
from runs.models import EventChunk, Purge, Run, Thread
from runs.records import record
from runs.signals import cancel_requested, chunks_committed, runs_pending, threads_deleted
from runs.states import RunStatus, ThreadStatus
from tests.appending import SUCCESS, append
from tests.factories import chunks_of, make_run, make_thread
from tests.fakes import heard, numbered

pytestmark = pytest.mark.django_db(transaction=True)

ACTIVE = [RunStatus.PENDING, RunStatus.RUNNING]


def test_a_deleted_run_takes_its_events_along(tenant: Tenant) -> None:
    thread = make_thread(tenant)
    run = make_run(tenant, thread, status=RunStatus.RUNNING)
    append(run, record("values"))
    append(run, outcome=SUCCESS)
    thread.refresh_from_db()
    kept = make_run(tenant, thread, status=RunStatus.RUNNING)
    append(kept, record("values"))
    with heard(chunks_committed) as commits:
        lifecycle.delete_run(run.pk, thread.pk)
    assert list(Run.objects.all()) == [kept]
    assert numbered(chunks_of(thread.pk)) == [(3, "values")]
    assert not commits


@pytest.mark.parametrize("status", ACTIVE)
def test_the_readers_of_a_deleted_run_get_its_end(tenant: Tenant, status: RunStatus) -> None:
    run = make_run(tenant, status=status)
    with heard(chunks_committed) as commits, heard(cancel_requested) as cancels:
        lifecycle.delete_run(run.pk, run.thread_id)
    ((sending),) = commits
    assert numbered(sending["chunks"]) == [(1, "cancel"), (2, "end")]
    assert len(cancels) == 1
    assert not Run.objects.exists() and not EventChunk.objects.exists()
    thread = Thread.objects.get()
    assert (thread.status, thread.last_seq) == (ThreadStatus.INTERRUPTED, 2)


def test_the_next_run_goes_when_the_running_one_is_deleted(tenant: Tenant) -> None:
    run = make_run(tenant, status=RunStatus.RUNNING)
    next_run = make_run(tenant, run.thread)
    with heard(runs_pending) as pending:
        lifecycle.delete_run(run.pk, run.thread_id)
    assert pending
    assert [attempt.run_id for attempt in lifecycle.claim("host", 10)] == [next_run.pk]


def test_a_deleted_thread_takes_everything_along_but_its_checkpoints(tenant: Tenant) -> None:
    thread, other = make_thread(tenant), make_run(tenant, status=RunStatus.RUNNING)
    for status in (RunStatus.SUCCESS, RunStatus.RUNNING, RunStatus.PENDING):
        make_run(tenant, thread, status=status)
    append(Run.objects.get(thread=thread, status=RunStatus.RUNNING), record("values"))
    with heard(chunks_committed) as commits, heard(threads_deleted) as deletions, heard(cancel_requested) as cancels:
        lifecycle.delete_thread(thread.pk)
    ((sending),) = commits
    assert [method for _, method in numbered(sending["chunks"])] == ["cancel", "end"] * 2
    assert len(deletions) == len(cancels) == 1
    assert list(Thread.objects.all()) == [other.thread] and list(Run.objects.all()) == [other]
    assert not EventChunk.objects.exists()
    assert [purge.pk for purge in Purge.objects.all()] == [thread.pk]


def test_an_idle_thread_is_deleted_in_silence(tenant: Tenant) -> None:
    with heard(chunks_committed) as commits, heard(cancel_requested) as cancels:
        lifecycle.delete_thread(make_thread(tenant).pk)
    assert not commits and not cancels


def test_an_attempt_on_a_deleted_thread_writes_nothing(tenant: Tenant) -> None:
    run = make_run(tenant, status=RunStatus.RUNNING)
    lifecycle.delete_thread(run.thread_id)
    assert append(run, record("values")) is None
    assert lifecycle.heartbeat([(run.pk, run.claim)]) == {}


def test_what_is_unknown_can_not_be_deleted(tenant: Tenant) -> None:
    thread = make_thread(tenant)
    with pytest.raises(Run.DoesNotExist):
        lifecycle.delete_run(tenant.user_id, thread.pk)
    with pytest.raises(Thread.DoesNotExist):
        lifecycle.delete_thread("nowhere")
    assert not Purge.objects.exists()
