"""New threads and runs: their turn, and what they do to the runs before them."""

from datetime import timedelta

import pytest
from django.db import DatabaseError, IntegrityError, transaction
from django.utils import timezone

from accounts.models import User
from runs import lifecycle
from runs.lifecycle import BeingDeleted, Place, ThreadBusy
from runs.models import Purge, Run, Thread
from runs.signals import cancel_requested, chunks_committed, runs_pending
from runs.states import MultitaskStrategy, RunStatus, ThreadStatus
from tests.factories import chunks_of, make_run, make_thread, new_run, place_of, tenant_of
from tests.fakes import heard, numbered

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("graphs")]


@pytest.fixture
def thread(alice: User, acme: object) -> Thread:
    return make_thread(tenant_of(alice), metadata={"topic": "tests"})


def add_thread(user: User, thread_id: str, **fields: object) -> Thread:
    tenant = tenant_of(user)
    with transaction.atomic():
        return lifecycle.add_thread(
            thread_id, organization_id=tenant.organization_id, owner_id=tenant.user_id, metadata={"a": [1]}, **fields
        )


def test_a_new_thread_is_as_its_row(alice: User, acme: object) -> None:
    made = add_thread(alice, "mine")
    row = Thread.objects.get(pk="mine")
    fields = [field.attname for field in Thread._meta.concrete_fields]
    assert {name: getattr(made, name) for name in fields} == {name: getattr(row, name) for name in fields}
    assert (row.status, row.metadata, row.temporary, row.last_seq) == (ThreadStatus.IDLE, {"a": [1]}, False, 0)


def test_the_id_of_a_thread_is_taken_whoever_has_it(alice: User, acme: object, charlie: User) -> None:
    add_thread(alice, "mine")
    with pytest.raises(IntegrityError):
        add_thread(charlie, "mine")


def test_the_id_of_a_deleted_thread_is_taken_until_its_checkpoints_are_gone(alice: User, acme: object) -> None:
    Purge.objects.create(thread_id="mine")
    with pytest.raises(BeingDeleted):
        add_thread(alice, "mine")
    Purge.objects.all().delete()
    add_thread(alice, "mine")


def test_a_new_run_is_as_its_row(alice: User, thread: Thread) -> None:
    not_before = timezone.now() + timedelta(minutes=1)
    with transaction.atomic():
        made = lifecycle.add_run(place_of(thread), new_run(tenant_of(alice), metadata={"b": 1}, not_before=not_before))
    row = Run.objects.get()
    fields = [field.attname for field in Run._meta.concrete_fields]
    assert {name: getattr(made, name) for name in fields} == {name: getattr(row, name) for name in fields}
    assert (row.status, row.position, row.attempt, row.metadata) == (RunStatus.PENDING, 1, 0, {"b": 1})


def test_a_new_run_makes_its_thread_busy_and_says_what_runs_there(alice: User, thread: Thread) -> None:
    new = new_run(tenant_of(alice))
    with heard(runs_pending) as pending, transaction.atomic():
        lifecycle.add_run(place_of(thread), new)
        assert not pending
    thread.refresh_from_db()
    assert (thread.status, thread.graph_id, thread.last_position) == (ThreadStatus.BUSY, "echo", 1)
    assert thread.metadata == {"topic": "tests", "graph_id": "echo", "assistant_id": str(new.assistant_id)}
    assert len(pending) == 1


@pytest.mark.parametrize("temporary", [True, False])
def test_a_run_on_a_thread_of_its_own_is_as_one_on_a_new_thread(alice: User, acme: object, temporary: bool) -> None:
    new = new_run(tenant_of(alice), metadata={"b": 1})
    with heard(runs_pending) as pending, transaction.atomic():
        made = lifecycle.add_thread_with_run("own", new, temporary=temporary)
    row, thread = Run.objects.get(), Thread.objects.get()
    fields = [field.attname for field in Run._meta.concrete_fields]
    assert {name: getattr(made, name) for name in fields} == {name: getattr(row, name) for name in fields}
    assert (row.thread_id, row.status, row.position, row.after_seq) == ("own", RunStatus.PENDING, 1, 0)
    assert (thread.status, thread.temporary, thread.last_position) == (ThreadStatus.BUSY, temporary, 1)
    assert (thread.organization_id, thread.owner_id) == (new.organization_id, new.owner_id)
    assert thread.metadata == {"graph_id": "echo", "assistant_id": str(new.assistant_id)}
    assert len(pending) == 1


@pytest.mark.parametrize("active", [RunStatus.PENDING, RunStatus.RUNNING])
def test_a_busy_thread_rejects_a_run(alice: User, thread: Thread, active: RunStatus) -> None:
    make_run(tenant_of(alice), thread, status=active)
    with pytest.raises(ThreadBusy), transaction.atomic():
        lifecycle.add_run(place_of(thread), new_run(tenant_of(alice)))
    assert Run.objects.count() == 1


def test_an_ended_run_does_not_make_a_thread_busy(alice: User, thread: Thread) -> None:
    make_run(tenant_of(alice), thread, status=RunStatus.ERROR)
    with transaction.atomic():
        run = lifecycle.add_run(place_of(thread), new_run(tenant_of(alice)))
    assert run.position == 2


def test_an_enqueued_run_comes_after_the_others(alice: User, thread: Thread) -> None:
    running = make_run(tenant_of(alice), thread, status=RunStatus.RUNNING)
    with transaction.atomic():
        run = lifecycle.add_run(place_of(thread), new_run(tenant_of(alice), strategy=MultitaskStrategy.ENQUEUE))
    running.refresh_from_db()
    assert (running.status, running.cancel_action) == (RunStatus.RUNNING, "")
    assert (run.status, run.position) == (RunStatus.PENDING, 2)


def test_an_interrupting_run_ends_the_waiting_ones_and_asks_the_running_one_to_stop(
    alice: User, thread: Thread
) -> None:
    running = make_run(tenant_of(alice), thread, status=RunStatus.RUNNING)
    waiting = make_run(tenant_of(alice), thread)
    new = new_run(tenant_of(alice), strategy=MultitaskStrategy.INTERRUPT)
    with heard(cancel_requested) as cancels, heard(chunks_committed) as commits, transaction.atomic():
        run = lifecycle.add_run(place_of(thread), new)
    for row in (running, waiting):
        row.refresh_from_db()
    assert (running.status, running.cancel_action) == (RunStatus.RUNNING, "interrupt")
    assert (waiting.status, waiting.cancel_action) == (RunStatus.INTERRUPTED, "interrupt")
    assert numbered(chunks_of(thread.pk)) == [(1, "cancel"), (2, "end")]
    assert run.after_seq == 2
    assert len(cancels) == len(commits) == 1
    thread.refresh_from_db()
    assert thread.status == ThreadStatus.BUSY


def test_the_events_of_a_run_come_after_those_its_thread_has(alice: User, acme: object) -> None:
    thread = make_thread(tenant_of(alice), last_seq=41)
    with transaction.atomic():
        assert lifecycle.add_run(place_of(thread), new_run(tenant_of(alice))).after_seq == 41


def test_a_failed_creation_leaves_nothing_and_tells_nobody(alice: User, acme: object) -> None:
    tenant = tenant_of(alice)
    with heard(runs_pending) as pending, pytest.raises(DatabaseError), transaction.atomic():
        lifecycle.add_thread(
            "mine", organization_id=tenant.organization_id, owner_id=tenant.user_id, metadata={}, fresh=True
        )
        lifecycle.add_run(Place(thread_id="mine"), new_run(tenant))
        raise DatabaseError
    assert not Thread.objects.exists() and not Run.objects.exists() and not pending


def test_a_change_of_state_takes_a_turn(alice: User, thread: Thread) -> None:
    with transaction.atomic():
        assert lifecycle.reserve_position(place_of(thread)) == 1
    with transaction.atomic():
        assert lifecycle.add_run(place_of(thread), new_run(tenant_of(alice))).position == 2


def test_a_busy_thread_takes_no_change_of_state(alice: User, thread: Thread) -> None:
    make_run(tenant_of(alice), thread)
    with pytest.raises(ThreadBusy), transaction.atomic():
        lifecycle.reserve_position(place_of(thread))


def change(thread: Thread, position: int, **over: object) -> Thread:
    fields = {"values": {"new": 1}, "interrupts": {"task": []}, "waits_for_input": False, **over}
    lifecycle.state_changed(thread.pk, position, **fields)
    thread.refresh_from_db()
    return thread


@pytest.mark.parametrize(("waits", "status"), [(False, ThreadStatus.IDLE), (True, ThreadStatus.INTERRUPTED)])
def test_a_change_of_state_is_seen_on_its_thread(thread: Thread, waits: bool, status: ThreadStatus) -> None:
    Thread.objects.update(last_position=3, error={"error": "E", "message": ""}, status=ThreadStatus.ERROR)
    changed = change(thread, 3, waits_for_input=waits)
    assert (changed.values, changed.interrupts) == ({"new": 1}, {"task": []})
    assert (changed.status, changed.error) == (status, None)


def test_a_change_of_state_is_not_seen_when_a_run_has_come_since(thread: Thread) -> None:
    Thread.objects.update(last_position=4, values={"old": 1}, status=ThreadStatus.BUSY)
    unchanged = change(thread, 3)
    assert (unchanged.values, unchanged.status) == ({"old": 1}, ThreadStatus.BUSY)
