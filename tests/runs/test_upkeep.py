"""What one process at a time does once a second for all."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone

from accounts.models import User
from runs import lifecycle
from runs.calls import CallRefused, NoEngine
from runs.database import in_database
from runs.host import chores
from runs.host.upkeep import Upkeep
from runs.models import Purge, Run, Thread
from runs.states import RunStatus
from tests.factories import make_run, make_thread, tenant_of

pytestmark = pytest.mark.django_db(transaction=True)


class FakePool:
    """Engines that purge what they are asked to, or fail at the threads of `failures`."""

    def __init__(self) -> None:
        self.purged: list[str] = []
        self.sweeps = 0
        self.failures: dict[str, Exception] = {}
        self.on_call: Callable[[], None] = lambda: None

    async def call(self, method: str, params: dict[str, Any]) -> bytes:
        if method == "sweep_items":
            self.sweeps += 1
            if failure := self.failures.get(method):
                raise failure
            return b"null"
        assert method == "purge" and set(params) == {"thread_id"}
        if failure := self.failures.get(params["thread_id"]):
            raise failure
        self.purged.append(params["thread_id"])
        self.on_call()
        return b"null"


@pytest.fixture
def pool() -> FakePool:
    return FakePool()


@pytest.fixture
def busy() -> set[str]:
    """The threads that this process still writes to."""
    return set()


@pytest.fixture
def upkeep(pool: FakePool, busy: set[str]) -> Upkeep:
    async def renew() -> None:
        """This process holds nothing."""

    return Upkeep(pool, renew, lambda: busy)  # type: ignore[arg-type]


@pytest.fixture
def expired(alice: User, acme: object) -> Run:
    """A run whose lease has ended."""
    ended = timezone.now() - timedelta(seconds=1)
    return make_run(tenant_of(alice), status=RunStatus.RUNNING, lease_until=ended)


def delete(*thread_ids: str) -> None:
    for thread_id in thread_ids:
        Purge.objects.create(thread_id=thread_id)


async def test_a_process_that_slept_renews_its_own_leases_before_it_reaps(
    expired: Run, pool: FakePool, alice: User
) -> None:
    async def renew() -> None:
        await in_database(lifecycle.heartbeat, [(expired.pk, expired.claim)])

    lost = await in_database(
        lambda: make_run(tenant_of(alice), status=RunStatus.RUNNING, lease_until=expired.lease_until)
    )
    await Upkeep(pool, renew, set).tick()  # type: ignore[arg-type]
    assert (await in_database(Run.objects.get, pk=expired.pk)).status == RunStatus.RUNNING
    assert (await in_database(Run.objects.get, pk=lost.pk)).status == RunStatus.PENDING


async def test_one_tick_does_all_that_is_due(upkeep: Upkeep, pool: FakePool, expired: Run, alice: User) -> None:
    long_ago = timezone.now() - timedelta(days=400)
    temporary = await in_database(lambda: make_thread(tenant_of(alice), temporary=True, updated_at=long_ago))
    await in_database(delete, "gone")
    await upkeep.tick()
    assert (await in_database(Run.objects.get)).status == RunStatus.PENDING
    assert not await in_database(Thread.objects.filter(pk=temporary.pk).exists)
    assert pool.purged == ["gone", temporary.pk]
    assert await in_database(chores.purges) == []


async def test_what_may_still_be_written_to_is_purged_later(upkeep: Upkeep, pool: FakePool, busy: set[str]) -> None:
    await in_database(delete, "first", "busy", "last")
    busy.add("busy")
    await upkeep.tick()
    assert pool.purged == ["first", "last"]
    assert await in_database(chores.purges) == ["busy"]
    busy.clear()
    await upkeep.tick()
    assert pool.purged == ["first", "last", "busy"]


async def test_a_thread_that_becomes_busy_meanwhile_is_purged_later(
    upkeep: Upkeep, pool: FakePool, busy: set[str]
) -> None:
    await in_database(delete, "first", "second")
    pool.on_call = lambda: busy.add("second")
    await upkeep.tick()
    assert pool.purged == ["first"]
    assert await in_database(chores.purges) == ["second"]


@pytest.mark.parametrize("failure", [NoEngine(), TimeoutError()])
async def test_without_an_engine_purges_wait_for_one(upkeep: Upkeep, pool: FakePool, failure: Exception) -> None:
    await in_database(delete, "first", "second", "third")
    pool.failures["second"] = failure
    await upkeep.tick()
    assert pool.purged == ["first"]
    assert await in_database(chores.purges) == ["second", "third"]
    pool.failures.clear()
    await upkeep.tick()
    assert pool.purged == ["first", "second", "third"]


async def test_a_part_that_fails_undoes_nothing_and_the_next_tick_goes_on(
    upkeep: Upkeep, pool: FakePool, expired: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OperationalError("away")

    await in_database(delete, "gone")
    with monkeypatch.context() as patch:
        patch.setattr(chores, "prune_events", fail)
        with pytest.raises(OperationalError):
            await upkeep.tick()
    assert (await in_database(Run.objects.get)).status == RunStatus.PENDING
    assert not pool.purged
    await upkeep.tick()
    assert pool.purged == ["gone"]


async def test_nothing_is_reaped_while_the_own_leases_can_not_be_renewed(expired: Run, pool: FakePool) -> None:
    async def renew() -> None:
        raise OperationalError("away")

    with pytest.raises(OperationalError):
        await Upkeep(pool, renew, set).tick()  # type: ignore[arg-type]
    assert (await in_database(Run.objects.get)).status == RunStatus.RUNNING


async def test_no_lease_counts_as_ended_for_a_while_after_the_database_was_away(upkeep: Upkeep, expired: Run) -> None:
    upkeep.grace_seconds = 3600
    await upkeep.tick()
    assert (await in_database(Run.objects.get)).status == RunStatus.RUNNING
    upkeep._reached_since -= 3600
    upkeep.database_failed()
    await upkeep.tick()
    assert (await in_database(Run.objects.get)).status == RunStatus.RUNNING
    upkeep._reached_since -= 3600
    await upkeep.tick()
    assert (await in_database(Run.objects.get)).status == RunStatus.PENDING


async def test_items_are_swept_when_it_is_time(upkeep: Upkeep, pool: FakePool) -> None:
    await upkeep.tick()
    assert pool.sweeps == 0
    upkeep.sweep_seconds = 0
    await upkeep.tick()
    await upkeep.tick()
    assert pool.sweeps == 2


@pytest.mark.parametrize("failure", [NoEngine(), TimeoutError(), CallRefused(422, "odd")])
async def test_a_sweep_that_fails_is_tried_at_the_next_time(upkeep: Upkeep, pool: FakePool, failure: Exception) -> None:
    upkeep.sweep_seconds = 0
    pool.failures["sweep_items"] = failure
    await upkeep.tick()
    await upkeep.tick()
    assert pool.sweeps == 2
