"""Crons that are due start their runs: each time once, whoever looks, and however often."""

import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from django.db import OperationalError, connection

from accounts.models import Membership, Role, User
from accounts.tenancy import Tenant
from runs import lifecycle
from runs.host import crons
from runs.host.crons import fire_due
from runs.models import Assistant, Cron, Graph, Run, Thread
from runs.states import MultitaskStrategy, RunStatus
from tests.factories import make_cron, make_run, make_thread, tenant_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("graphs")]

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def due(tenant: Tenant, thread: Thread | None = None, **over: Any) -> Cron:
    return make_cron(tenant, thread, **{"next_run_at": NOON, **over})


def next_run_of(cron: Cron) -> datetime | None:
    cron.refresh_from_db()
    return cron.next_run_at


def test_a_cron_that_is_due_starts_a_run_and_is_due_again(tenant: Tenant) -> None:
    cron = due(tenant, payload={"input": {"a": 1}, "config": {"tags": ["t"]}}, metadata={"name": "mine"})
    assert fire_due(NOON - MINUTE / 60) == 0
    assert fire_due(NOON) == 1
    run = Run.objects.get()
    assert (run.status, run.owner_id, run.organization_id) == ("pending", tenant.user_id, tenant.organization_id)
    assert run.kwargs["input"] == {"a": 1}
    assert run.kwargs["config"]["tags"] == ["t"]
    assert run.kwargs["config"]["configurable"]["cron_id"] == str(cron.pk)
    assert run.metadata.items() >= {"name": "mine", "cron_id": str(cron.pk)}.items()
    assert run.kwargs["on_disconnect"] == "continue"
    assert next_run_of(cron) == NOON + MINUTE
    assert fire_due(NOON) == 0


@pytest.mark.parametrize(("completed", "temporary"), [("delete", True), ("keep", False)])
def test_each_run_of_a_cron_without_a_thread_has_a_new_one(tenant: Tenant, completed: str, temporary: bool) -> None:
    due(tenant, on_run_completed=completed)
    assert fire_due(NOON) == fire_due(NOON + MINUTE) == 1
    threads = list(Thread.objects.all())
    assert len(threads) == 2
    assert {thread.temporary for thread in threads} == {temporary}


def test_the_runs_of_a_cron_on_a_thread_wait_their_turn(tenant: Tenant) -> None:
    thread = make_thread(tenant)
    due(tenant, thread)
    busy = make_run(tenant, thread, status=RunStatus.RUNNING)
    assert fire_due(NOON) == fire_due(NOON + MINUTE) == 1
    waiting = Run.objects.filter(thread=thread, status=RunStatus.PENDING)
    assert [run.multitask_strategy for run in waiting] == [MultitaskStrategy.ENQUEUE] * 2
    busy.refresh_from_db()
    assert (busy.status, busy.cancel_action) == (RunStatus.RUNNING, "")


def test_a_cron_may_interrupt_what_its_thread_does(tenant: Tenant) -> None:
    thread = make_thread(tenant)
    due(tenant, thread, payload={"multitask_strategy": "interrupt"})
    busy = make_run(tenant, thread, status=RunStatus.RUNNING)
    assert fire_due(NOON) == 1
    busy.refresh_from_db()
    assert busy.cancel_action == "interrupt"


def test_a_run_that_a_busy_thread_refuses_is_left_out(tenant: Tenant) -> None:
    thread = make_thread(tenant)
    cron = due(tenant, thread, payload={"multitask_strategy": "reject"})
    busy = make_run(tenant, thread, status=RunStatus.RUNNING)
    assert fire_due(NOON) == 0
    assert next_run_of(cron) == NOON + MINUTE
    assert "busy" in cron.error or "already running" in cron.error
    Run.objects.filter(pk=busy.pk).update(status=RunStatus.SUCCESS)
    assert fire_due(NOON + MINUTE) == 1
    cron.refresh_from_db()
    assert cron.error == ""


def test_what_was_missed_is_made_up_for_once(tenant: Tenant) -> None:
    cron = due(tenant)
    late = NOON + timedelta(days=3, seconds=20)
    assert fire_due(late) == 1
    assert fire_due(late) == 0
    assert next_run_of(cron) == NOON + timedelta(days=3) + MINUTE


def test_two_ticks_at_once_start_one_run(tenant: Tenant) -> None:
    thread = make_thread(tenant)
    expected = {due(tenant, thread if number % 2 else None).pk for number in range(8)}
    together = Barrier(4)

    def tick() -> int:
        try:
            together.wait(10)
            return fire_due(NOON)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        started = sum(one.result(30) for one in [pool.submit(tick) for _ in range(4)])
    # What two were at is left for the next time.
    started += fire_due(NOON)
    assert started == Run.objects.count() == 8
    assert {run.metadata["cron_id"] for run in Run.objects.all()} == {str(pk) for pk in expected}
    assert fire_due(NOON) == 0


def test_who_dies_between_the_clock_and_the_run_leaves_both_undone(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Death(BaseException):
        pass

    def die(*_: object) -> None:
        assert Cron.objects.get().next_run_at == NOON + MINUTE
        assert Run.objects.count() == 1
        raise Death

    cron = due(tenant)
    create = crons._create
    with monkeypatch.context() as patch:
        patch.setattr(crons, "_create", lambda *args: (create(*args), die()))
        with pytest.raises(Death):
            fire_due(NOON)
    assert next_run_of(cron) == NOON
    assert (Run.objects.count(), Thread.objects.count()) == (0, 0)
    assert fire_due(NOON) == 1


def test_one_that_can_not_start_keeps_no_other_waiting(tenant: Tenant, caplog: pytest.LogCaptureFixture) -> None:
    broken = due(tenant, next_run_at=NOON - MINUTE, assistant=Assistant.objects.get(graph_id="broken"))
    stale = due(tenant, payload={"stream_mode": "no more", "input": "hunter2"})
    due(tenant)
    with caplog.at_level(logging.WARNING, "runs.host.crons"):
        assert fire_due(NOON) == 1
    assert next_run_of(broken) == next_run_of(stale) == NOON + MINUTE
    assert "can not run" in broken.error
    assert str(broken.pk) in caplog.text and str(stale.pk) in caplog.text
    assert "hunter2" not in caplog.text + stale.error
    Graph.objects.filter(pk="broken").update(error="")
    assert fire_due(NOON + MINUTE) == 2
    broken.refresh_from_db()
    assert broken.error == ""


def test_one_that_the_database_fails_is_tried_again_and_keeps_no_other_waiting(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlucky = due(tenant, next_run_at=NOON - MINUTE)
    due(tenant)
    create = crons._create

    def fail(tenant: Tenant, cron: Cron) -> None:
        if cron == unlucky:
            raise OperationalError("deadlock")
        create(tenant, cron)

    with monkeypatch.context() as patch:
        patch.setattr(crons, "_create", fail)
        assert fire_due(NOON) == 1
    # Not at the head of all others any more.
    assert next_run_of(unlucky) == NOON + timedelta(seconds=5)
    assert fire_due(NOON + timedelta(seconds=5)) == 1


@pytest.mark.parametrize("over", [{"timezone": "Mars/Olympus"}, {"timezone": "Europe"}, {"schedule": "whenever"}])
def test_one_whose_time_can_not_be_told_is_disabled_and_keeps_no_other_waiting(
    tenant: Tenant, over: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    unreadable = due(tenant, next_run_at=NOON - MINUTE, **over)
    due(tenant)
    assert fire_due(NOON) == 1
    assert next_run_of(unreadable) is None
    assert not unreadable.enabled
    assert "schedule" in unreadable.error
    assert str(unreadable.pk) in caplog.text


def test_one_that_breaks_the_server_waits_for_its_next_time_and_keeps_no_other_waiting(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaking = due(tenant, next_run_at=NOON - MINUTE)
    due(tenant)
    create = crons._create

    def fail(tenant: Tenant, cron: Cron) -> None:
        create(tenant, cron)
        if cron == breaking:
            raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(crons, "_create", fail)
        assert fire_due(NOON) == Run.objects.count() == 1
    assert next_run_of(breaking) == NOON + MINUTE
    assert breaking.enabled and breaking.error
    assert fire_due(NOON + MINUTE) == 2
    breaking.refresh_from_db()
    assert breaking.error == ""


def test_an_organization_with_many_crons_keeps_no_other_waiting(tenant: Tenant, charlie: User) -> None:
    many = [due(tenant, next_run_at=NOON - MINUTE) for _ in range(120)]
    one = due(tenant_of(charlie))
    assert fire_due(NOON) == 11
    assert next_run_of(one) == NOON + MINUTE
    assert fire_due(NOON) == 10
    assert Cron.objects.filter(next_run_at=NOON - MINUTE).count() == len(many) - 20


def test_a_tick_takes_some_and_the_next_the_others(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crons, "_BATCH", 2)
    for _ in range(3):
        due(tenant)
    assert [fire_due(NOON), fire_due(NOON), fire_due(NOON)] == [2, 1, 0]


def test_nothing_starts_after_the_end(tenant: Tenant) -> None:
    cron = due(tenant, end_time=NOON + MINUTE)
    assert fire_due(NOON) == fire_due(NOON + MINUTE) == 1
    assert next_run_of(cron) is None
    assert cron.enabled
    missed = due(tenant, end_time=NOON + MINUTE / 2)
    assert fire_due(NOON + MINUTE) == 0
    assert next_run_of(missed) is None


@pytest.mark.parametrize("what", ["deactivated", "no member", "deleted", "viewer"])
def test_a_cron_whose_owner_may_not_start_runs_is_disabled(
    bob: User, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    cron = due(tenant_of(bob))
    if what == "deactivated":
        User.objects.filter(pk=bob.pk).update(is_active=False)
    elif what == "no member":
        Membership.objects.filter(user=bob).delete()
    elif what == "deleted":
        bob.delete()
    else:
        Membership.objects.filter(user=bob).update(role=Role.VIEWER)
    assert fire_due(NOON) == 0
    assert next_run_of(cron) is None
    assert not cron.enabled
    assert "owner" in cron.error
    assert not Run.objects.exists()


def test_a_thread_that_its_owner_can_not_see_any_more_is_left_alone(tenant: Tenant, bob: User) -> None:
    thread = make_thread(tenant, shared=True)
    cron = due(tenant_of(bob), thread)
    assert fire_due(NOON) == 1
    Thread.objects.filter(pk=thread.pk).update(shared=False)
    assert fire_due(NOON + MINUTE) == 0
    assert Run.objects.count() == 1
    assert next_run_of(cron) == NOON + 2 * MINUTE


def test_with_its_thread_or_assistant_a_cron_is_gone(tenant: Tenant) -> None:
    thread = make_thread(tenant)
    assistant = Assistant.objects.create(organization_id=tenant.organization_id, graph_id="echo", name="mine")
    due(tenant, thread)
    due(tenant, assistant=assistant)
    lifecycle.delete_thread(thread.pk)
    assistant.delete()
    assert not Cron.objects.exists()
    assert fire_due(NOON) == 0


@pytest.mark.many_machines
def test_a_thread_that_somebody_holds_keeps_no_other_cron_waiting(tenant: Tenant) -> None:
    held, free = make_thread(tenant), make_thread(tenant)
    due(tenant, held, next_run_at=NOON - MINUTE)
    due(tenant, free)
    holding, done = Barrier(2), Barrier(2)

    def hold() -> None:
        try:
            with crons.transaction.atomic():
                lifecycle.lock_threads([held.pk])
                holding.wait(10)
                done.wait(10)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        holder = pool.submit(hold)
        holding.wait(10)
        assert fire_due(NOON) == 1
        done.wait(10)
        holder.result(10)
    assert fire_due(NOON) == 1


def test_looking_for_what_is_due_reads_an_index(tenant: Tenant) -> None:
    assistant = Assistant.objects.get(graph_id="echo")
    Cron.objects.bulk_create(
        Cron(
            organization_id=tenant.organization_id,
            owner_id=tenant.user_id,
            assistant=assistant,
            schedule="* * * * *",
            next_run_at=NOON + MINUTE * number if number % 2 else None,
            updated_at=NOON,
        )
        for number in range(2000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE runs_cron")
    look = Cron.objects.filter(next_run_at__lte=NOON).order_by("next_run_at").values_list("cron_id")[:100]
    assert "cron_due" in look.explain()
