"""Lifetimes of threads: what nobody changed for so long is deleted or pruned, and nothing else is."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from accounts.tenancy import Tenant
from runs import lifecycle
from runs.calls import CallRefused, NoEngine
from runs.database import in_database
from runs.host import lifetimes
from runs.host.upkeep import Upkeep
from runs.models import Purge, Run, Thread
from runs.states import RunStatus
from tests.appending import SUCCESS, append
from tests.factories import make_run, make_thread, new_run, place_of, tenant_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def tenant(alice: User, acme: object, graphs: object) -> Tenant:
    return tenant_of(alice)


def old_thread(tenant: Tenant, *, minutes: float = 60, lives: float = 30, **over: Any) -> Thread:
    """A thread that was changed `minutes` ago and `lives` so long without a change."""
    changed = timezone.now() - timedelta(minutes=minutes)
    over = {"ttl_minutes": lives, "ttl_strategy": "delete", "expires_at": changed + timedelta(minutes=lives), **over}
    return make_thread(tenant, updated_at=changed, **over)


class FakePool:
    """Engines that are asked to prune, and to purge what was deleted."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.failure: Exception | None = None

    async def call(self, method: str, params: dict[str, Any]) -> bytes:
        self.asked.append((method, params))
        if self.failure and method == "keep_latest":
            raise self.failure
        return b"null"


async def tick(pool: FakePool) -> None:
    async def renew() -> None:
        """This process holds nothing."""

    await Upkeep(pool, renew, set).tick()  # type: ignore[arg-type]


def shown() -> set[str]:
    return set(Thread.objects.values_list("pk", flat=True))


async def test_a_thread_that_outlived_its_time_is_deleted_and_no_other(tenant: Tenant) -> None:
    over, young, forever = await in_database(
        lambda: (old_thread(tenant), old_thread(tenant, lives=90), make_thread(tenant))
    )
    pool = FakePool()
    await tick(pool)
    assert await in_database(shown) == {young.pk, forever.pk}
    assert pool.asked == [("purge", {"thread_id": over.pk})]


def test_what_a_run_changed_lives_as_long_again(tenant: Tenant) -> None:
    thread = old_thread(tenant)
    run = make_run(tenant, thread, status=RunStatus.RUNNING)
    assert lifetimes.due_threads() == []
    append(run, outcome=SUCCESS)
    assert lifetimes.due_threads() == []
    thread.refresh_from_db()
    assert thread.expires_at == thread.ends_at and thread.ends_at == thread.updated_at + timedelta(minutes=30)
    assert shown() == {thread.pk}


def test_runs_spend_no_statement_on_lifetimes(tenant: Tenant) -> None:
    counts = []
    for thread in (make_thread(tenant), old_thread(tenant)):
        place = place_of(thread)
        with CaptureQueriesContext(connection) as captured:
            lifecycle.add_run(place, new_run(tenant))
        counts.append(len(captured))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("strategy", ["delete", "keep_latest"])
def test_a_run_that_comes_in_between_saves_the_thread(tenant: Tenant, strategy: str) -> None:
    old_thread(tenant, ttl_strategy=strategy)
    (found,) = lifetimes.due_threads()
    lifecycle.add_run(place_of(Thread.objects.get()), new_run(tenant))
    lifetimes.delete_due(found)
    assert lifetimes.turn_of_due(found) is None
    assert shown() == {found.pk} and Run.objects.filter(status=RunStatus.PENDING).exists()


@pytest.mark.parametrize("change", [{"updated_at": timezone.now()}, {"ttl_minutes": 500}, {"last_position": 7}])
def test_a_change_that_comes_in_between_saves_the_thread(tenant: Tenant, change: dict[str, Any]) -> None:
    old_thread(tenant)
    (found,) = lifetimes.due_threads()
    Thread.objects.update(**change)
    lifetimes.delete_due(found)
    assert shown() == {found.pk}


def test_a_thread_that_is_gone_already_is_gone(tenant: Tenant) -> None:
    old_thread(tenant)
    (found,) = lifetimes.due_threads()
    lifecycle.delete_thread(found.pk)
    lifetimes.delete_due(found)
    assert lifetimes.turn_of_due(found) is None
    assert Purge.objects.count() == 1


async def test_a_thread_may_keep_its_latest_state(tenant: Tenant) -> None:
    thread = await in_database(lambda: old_thread(tenant, ttl_strategy="keep_latest", last_position=3))
    pool = FakePool()
    await tick(pool)
    await tick(pool)
    assert pool.asked == [("keep_latest", {"thread_id": thread.pk, "position": 4})]
    now = await in_database(Thread.objects.get)
    assert (now.ttl_minutes, now.expires_at, now.last_position) == (None, None, 4)
    assert now.updated_at == thread.updated_at


@pytest.mark.parametrize("failure", [NoEngine(), TimeoutError(), CallRefused(503, "later"), CallRefused(409, "a run")])
async def test_what_could_not_be_pruned_now_is_pruned_later(tenant: Tenant, failure: Exception) -> None:
    await in_database(lambda: old_thread(tenant, ttl_strategy="keep_latest"))
    pool = FakePool()
    pool.failure = failure
    await tick(pool)
    assert (await in_database(Thread.objects.get)).ttl_minutes == 30
    pool.failure = None
    await tick(pool)
    assert len(pool.asked) == 1  # Nobody waits behind it for now.
    await in_database(lambda: Thread.objects.update(expires_at=timezone.now()))
    await tick(pool)
    assert len(pool.asked) == 2 and (await in_database(Thread.objects.get)).ttl_minutes is None


async def test_what_can_not_be_pruned_is_not_tried_for_ever(tenant: Tenant) -> None:
    await in_database(lambda: old_thread(tenant, ttl_strategy="keep_latest"))
    pool = FakePool()
    pool.failure = CallRefused(422, "made of all states")
    await tick(pool)
    await tick(pool)
    assert len(pool.asked) == 1 and (await in_database(Thread.objects.get)).ttl_minutes is None
