"""The feed of a thread that is not there, or not to be seen: it is silent until it is."""

import asyncio

import pytest

from accounts.models import User
from accounts.tenancy import Tenant
from runs.api.feed import Joined
from runs.database import in_database
from runs.log import Hub
from runs.models import Run, Thread
from runs.protocol.selection import selection
from runs.states import RunStatus
from tests.appending import emit, end
from tests.factories import make_run, make_thread, tenant_of
from tests.runs.feeds import feed_of, reading, until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("hub", "layer")]

silent = pytest.mark.parametrize("layer", ["silent"], indirect=True)


async def test_a_thread_that_is_not_there_is_waited_for(tenant: Tenant) -> None:
    async with reading(feed_of(tenant, "later")) as reader:
        await until(lambda: reader.joined)
        assert reader.joined == [Joined("one", 0)]
        thread = await in_database(make_thread, tenant, thread_id="later")
        run = await in_database(lambda: make_run(tenant, thread, status=RunStatus.RUNNING))
        await emit(run, 1)
        await emit(run, 2)
        await until(lambda: len(reader.events) == 2)
        await end(run)
        await until(lambda: len(reader.events) == 3)
    assert reader.ids == ["1", "2", "3"]


@silent
async def test_a_thread_is_found_without_the_doorbell(tenant: Tenant) -> None:
    await test_a_thread_that_is_not_there_is_waited_for(tenant)


@pytest.mark.parametrize("since", [None, 0, 1])
async def test_who_joins_while_the_thread_is_waited_for_waits_too(tenant: Tenant, since: int | None) -> None:
    feed = feed_of(tenant, "later", selection(["values"]))
    async with reading(feed) as reader:
        await until(lambda: reader.joined)
        feed.join("two", selection(["custom"]), since)
        await until(lambda: len(reader.joined) == 2)
        thread = await in_database(make_thread, tenant, thread_id="later")
        run = await in_database(lambda: make_run(tenant, thread, status=RunStatus.RUNNING))
        await emit(run, 1, method="custom")
        await emit(run, 2)
        await until(lambda: 2 in reader.seqs)
    # Whatever they have seen, it was another thread's.
    assert reader.seqs == [1, 2]


async def test_a_thread_may_be_found_by_one_that_joins(tenant: Tenant) -> None:
    feed = feed_of(tenant, "later", selection(["values"]))
    async with reading(feed) as reader:
        await until(lambda: reader.joined)
        thread = await in_database(make_thread, tenant, thread_id="later", last_seq=0)
        run = await in_database(lambda: make_run(tenant, thread, status=RunStatus.RUNNING))
        feed.join("two", selection(["custom"]))
        await emit(run, 1)
        await emit(run, 2, method="custom")
        await until(lambda: len(set(reader.seqs)) == 2)
        await emit(run, 3)
        await until(lambda: 3 in reader.seqs)
    assert reader.seqs in ([1, 2, 3], [0, 1, 2, 3])


async def test_a_thread_of_somebody_else_is_silence(charlie: User, run: Run, hub: Hub) -> None:
    stranger = await in_database(tenant_of, charlie)
    await emit(run, 1)
    async with reading(feed_of(stranger, run.thread_id)) as reader:
        await until(lambda: reader.joined)
        (subscription,) = hub._followers[run.thread_id]
        for number in range(20):
            await emit(run, number)
            await asyncio.sleep(0.001)
            assert not subscription._waiting
        await in_database(lambda: Thread.objects.update(organization_id=stranger.organization_id, shared=True))
        await emit(run, 20)
        await until(lambda: reader.events)
        assert reader.ids[0] == "1"


async def test_a_thread_is_there_when_it_is_shared(bob: User, run: Run) -> None:
    colleague = await in_database(tenant_of, bob)
    async with reading(feed_of(colleague, run.thread_id)) as reader:
        await until(lambda: reader.joined)
        await emit(run, 1)
        await in_database(lambda: Thread.objects.update(shared=True))
        await emit(run, 2)
        await until(lambda: len(reader.events) == 2)
