"""Assistants that several change at once: no version is lost, and nobody is failed."""

import threading
from typing import Any

import pytest
from django.db import connection, transaction

from accounts.tenancy import Tenant
from runs.exceptions import NotFound
from runs.identifiers import new_id
from runs.models import Assistant, AssistantVersion, Cron, Run
from runs.protocol.requests.assistants import AssistantCreate, AssistantPatch, VersionSearch
from runs.protocol.requests.crons import CronCreate
from runs.protocol.requests.runs import BatchItem, RunRequest
from runs.services import assistants, creation, crons
from runs.services.creation import create_run, create_stateless_run
from runs.services.crons import create_cron
from tests.factories import make_cron, make_run
from tests.runs.racing import at_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("graphs")]

ID = "01890a5d-ac96-774b-bcce-b302099a8057"
TOGETHER = 4


def make(tenant: Tenant, **over: Any) -> Assistant:
    return assistants.create_assistant(tenant, AssistantCreate(graph_id="echo", assistant_id=ID, **over))


def patch(tenant: Tenant, key: str) -> Assistant:
    return assistants.patch_assistant(tenant, ID, AssistantPatch(metadata={key: 1}))


def test_patches_at_once_each_have_their_version_and_all_their_keys(tenant: Tenant) -> None:
    make(tenant)
    for _ in range(5):
        before = Assistant.objects.get(pk=ID).version
        keys = [f"{before}-{number}" for number in range(TOGETHER)]
        made = at_once(*[lambda key=key: patch(tenant, key) for key in keys])  # type: ignore[misc]
        assert sorted(assistant.version for assistant in made) == list(range(before + 1, before + 1 + TOGETHER))
    current = Assistant.objects.get(pk=ID)
    kept = assistants.list_versions(tenant, ID, VersionSearch(limit=1000))
    assert [version.version for version in kept] == list(range(1 + 5 * TOGETHER, 0, -1))
    assert len(current.metadata) == 5 * TOGETHER
    assert kept[0].metadata == current.metadata


def test_a_patch_and_a_choice_at_once_end_as_one_after_the_other(tenant: Tenant) -> None:
    make(tenant, metadata={"first": 1})
    patch(tenant, "second")
    for _ in range(5):
        at_once(lambda: patch(tenant, "x"), lambda: assistants.set_latest_version(tenant, ID, 1))
        current = Assistant.objects.get(pk=ID)
        kept = AssistantVersion.objects.get(assistant=current, version=current.version)
        assert kept.metadata == current.metadata
    assert AssistantVersion.objects.count() == 7


def test_of_those_who_make_one_at_once_one_does(tenant: Tenant) -> None:
    answers = at_once(*[lambda: make(tenant)] * TOGETHER)
    assert sorted(type(answer).__name__ for answer in answers) == ["Assistant", *["Conflict"] * (TOGETHER - 1)]
    assert AssistantVersion.objects.count() == 1


def test_of_those_who_make_one_at_once_all_have_it_when_they_do_not_mind(tenant: Tenant) -> None:
    answers = at_once(*[lambda: make(tenant, if_exists="do_nothing")] * TOGETHER)
    assert {str(answer.pk) for answer in answers} == {ID}


def test_of_those_who_delete_one_at_once_one_does(tenant: Tenant) -> None:
    make(tenant)
    delete = lambda: assistants.delete_assistant(tenant, ID, delete_threads=False)  # noqa: E731
    answers = at_once(*[delete] * TOGETHER)
    assert sorted(type(answer).__name__ for answer in answers) == ["NoneType", *["NotFound"] * (TOGETHER - 1)]


def test_a_patch_and_a_deletion_at_once_leave_no_version_behind(tenant: Tenant) -> None:
    for _ in range(5):
        make(tenant)
        delete = lambda: assistants.delete_assistant(tenant, ID, delete_threads=False)  # noqa: E731
        patched, deleted = at_once(lambda: patch(tenant, "x"), delete)
        assert deleted is None and (isinstance(patched, NotFound) or patched.version == 2)
        assert not AssistantVersion.objects.exists()


def test_who_makes_a_run_or_a_cron_while_it_is_deleted_has_one_or_is_told_that_it_is_gone(tenant: Tenant) -> None:
    run = RunRequest(assistant_id=ID, input={})
    cron = CronCreate(assistant_id=ID, schedule="* * * * *")
    for _ in range(8):
        make(tenant)
        *made, deleted = at_once(
            lambda: create_stateless_run(tenant, run),
            lambda: create_run(tenant, str(new_id()), run),
            lambda: create_cron(tenant, None, cron),
            lambda: assistants.delete_assistant(tenant, ID, delete_threads=False),
        )
        assert deleted is None
        assert {type(one) for one in made} <= {Run, Cron, NotFound}
        assert not Cron.objects.exists() and not Run.objects.filter(assistant=ID).exists()


def found_before_it_went(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Somebody else deletes it right after it was found."""

    def found(*_: object) -> Assistant:
        assistant = Assistant.objects.get(pk=ID)
        at_once(lambda: Assistant.objects.filter(pk=ID).delete() and None)
        monkeypatch.undo()
        return assistant

    return found


def test_a_run_that_finds_at_the_commit_that_it_is_gone_says_so(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tenant)
    monkeypatch.setattr(creation, "runnable_assistant", found_before_it_went(monkeypatch))
    with pytest.raises(NotFound, match="Assistant"):
        create_stateless_run(tenant, RunRequest(assistant_id=ID, input={}))
    assert not Run.objects.exists()


@pytest.mark.many_machines
def test_a_cron_that_finds_at_the_commit_that_it_is_gone_says_so(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tenant)
    monkeypatch.setattr(crons, "runnable_assistant", found_before_it_went(monkeypatch))
    with pytest.raises(NotFound, match="Assistant"):
        create_cron(tenant, None, CronCreate(assistant_id=ID, schedule="* * * * *"))
    assert not Cron.objects.exists()


@pytest.mark.many_machines
def test_who_deletes_one_waits_in_no_ring_with_who_starts_a_run_of_its_cron(tenant: Tenant) -> None:
    """A cron that starts a run holds itself, and waits for its assistant at the commit."""
    make(tenant)
    cron = make_cron(tenant, assistant=Assistant.objects.get(pk=ID))
    held, deleting = threading.Event(), threading.Event()

    def start() -> None:
        with transaction.atomic():
            Cron.objects.select_for_update().get(pk=cron.pk)
            held.set()
            deleting.wait(10)
            wait_until_somebody_waits()
            make_run(tenant, assistant_id=ID)

    def delete() -> None:
        held.wait(10)
        deleting.set()
        assistants.delete_assistant(tenant, ID, delete_threads=False)

    assert at_once(start, delete) == [None, None]
    assert Run.objects.get().assistant_id is None
    assert not Cron.objects.exists()


def wait_until_somebody_waits() -> None:
    """For a lock, on this database."""
    with connection.cursor() as cursor:
        for _ in range(1000):
            cursor.execute(
                "SELECT EXISTS (SELECT 1 FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'), pg_sleep(0.01)"
            )
            if cursor.fetchone()[0]:
                return
    raise TimeoutError


@pytest.mark.many_machines
def test_batches_that_make_the_same_threads_in_another_order_wait_in_no_ring(tenant: Tenant) -> None:
    for _ in range(10):
        names = [str(new_id()) for _ in range(20)]
        orders = [names, names[::-1], names[10:] + names[:10], names[::2] + names[1::2]]
        batches = [
            [BatchItem(thread_id=name, assistant_id="echo", input={}, multitask_strategy="enqueue") for name in order]
            for order in orders
        ]
        made = at_once(*[lambda batch=batch: creation.create_batch(tenant, batch) for batch in batches])  # type: ignore[misc]
        for runs, order in zip(made, orders, strict=True):
            assert [run.thread_id for run in runs] == order


def test_an_assistant_is_there_with_its_version_or_not_at_all(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the process ends in between."""

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    make(tenant)
    monkeypatch.setattr(assistants, "_keep_version", die)
    with pytest.raises(KeyboardInterrupt):
        assistants.create_assistant(tenant, AssistantCreate(graph_id="echo"))
    with pytest.raises(KeyboardInterrupt):
        patch(tenant, "x")
    [only] = Assistant.objects.for_tenant(tenant).filter(organization_id=tenant.organization_id)
    assert (only.version, only.metadata) == (1, {})
