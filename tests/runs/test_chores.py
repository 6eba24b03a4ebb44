from datetime import timedelta

import psycopg
import pytest
from django.conf import LazySettings
from django.db import connection
from django.utils import timezone

from accounts.models import User
from runs.host import chores
from runs.identifiers import system_assistant_id
from runs.lifecycle import Outcome, Write, claim, write
from runs.models import Assistant, CreatedOnce, EventChunk, Graph, Purge, Run, Thread
from runs.postgres import connection_parameters
from runs.records import record
from runs.states import RunStatus
from tests.e2e.waiting import until
from tests.factories import make_run, make_thread, tenant_of

pytestmark = pytest.mark.usefixtures("acme", "graphs")

LONG_AGO = timezone.now() - timedelta(days=400)


def ended_run(user: User, thread: Thread | None = None) -> Run:
    run = make_run(tenant_of(user), thread)
    (attempt,) = claim("host", 1)
    write([Write(run.pk, attempt.claim, run.thread_id, [record("custom", 1)], Outcome(RunStatus.SUCCESS))])
    return run


def test_events_of_runs_that_ended_long_ago_are_forgotten_and_no_others(alice: User) -> None:
    old, recent = ended_run(alice), ended_run(alice)
    running = make_run(tenant_of(alice))
    claim("host", 1)
    EventChunk.objects.exclude(run=recent).update(created_at=LONG_AGO)
    Run.objects.filter(pk=old.pk).update(ended_at=LONG_AGO)

    chores.prune_events()

    assert set(EventChunk.objects.values_list("run_id", flat=True)) == {recent.pk, running.pk}


def test_a_run_keeps_all_its_events_or_none(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chores, "_BATCH", 1)
    run = ended_run(alice)
    EventChunk.objects.update(created_at=LONG_AGO)
    Run.objects.filter(pk=run.pk).update(ended_at=LONG_AGO)
    assert EventChunk.objects.filter(run=run).count() > 1

    chores.prune_events()

    assert not EventChunk.objects.exists()


def test_threads_of_stateless_runs_go_some_time_after_the_run(alice: User) -> None:
    tenant = tenant_of(alice)
    gone, fresh = make_thread(tenant, temporary=True), make_thread(tenant, temporary=True)
    kept, busy = make_thread(tenant), make_thread(tenant, temporary=True)
    make_run(tenant, busy)
    Thread.objects.exclude(pk=fresh.pk).update(updated_at=LONG_AGO)

    chores.expire_temporary_threads()

    assert set(Thread.objects.values_list("pk", flat=True)) == {fresh.pk, kept.pk, busy.pk}
    assert chores.purges() == [gone.pk]


def test_a_purge_is_due_until_it_was_done(db: None) -> None:
    Purge.objects.create(thread_id="a")
    Purge.objects.create(thread_id="b")
    assert chores.purges() == ["a", "b"]

    chores.purged("a")

    assert chores.purges() == ["b"]


def test_a_graph_that_is_not_named_any_more_stays_with_an_error(db: None) -> None:
    chores.register_graphs({"echo": "", "old": ""})

    chores.register_graphs({"echo": "ImportError: gone"})

    assert Graph.objects.get(pk="echo").error == "ImportError: gone"
    assert Graph.objects.get(pk="old").error
    assert Assistant.objects.get(pk=system_assistant_id("old")).graph_id == "old"


_IN_TRANSACTION = """
SELECT 1 FROM pg_stat_activity
WHERE application_name = 'deerflow checkpoints' AND xact_start IS NOT NULL AND wait_event = 'ClientRead'
"""


def exists(statement: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone() is not None


@pytest.mark.many_machines
@pytest.mark.django_db(transaction=True)
def test_who_was_stopped_while_it_wrote_checkpoints_holds_runs_no_longer_than_a_lease(settings: LazySettings) -> None:
    stopped = psycopg.connect(**connection_parameters("checkpoints"), autocommit=True)
    with stopped, pytest.raises(psycopg.OperationalError), stopped.pipeline(), stopped.transaction():
        stopped.execute("SELECT 1 FROM runs_run FOR SHARE")
        until(lambda: exists(_IN_TRANSACTION))
        settings.LEASE_SECONDS = 3600
        chores.end_stuck_writers()
        assert exists(_IN_TRANSACTION)
        settings.LEASE_SECONDS = 0
        chores.end_stuck_writers()
        until(lambda: not exists(_IN_TRANSACTION))


def test_keys_are_forgotten_after_a_day(alice: User, acme: object) -> None:
    tenant = tenant_of(alice)
    for age in (timedelta(hours=25), timedelta(hours=23)):
        row = CreatedOnce.objects.create(
            organization_id=tenant.organization_id, owner_id=tenant.user_id, key=str(age), digest=""
        )
        CreatedOnce.objects.filter(pk=row.pk).update(created_at=timezone.now() - age)
    chores.forget_keys()
    assert [row.key for row in CreatedOnce.objects.all()] == [str(timedelta(hours=23))]
