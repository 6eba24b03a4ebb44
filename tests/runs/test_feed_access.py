"""The feed of a thread's events ends when its reader may not read on, and when the process drains."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone

from accounts.authentication import identify_by_api_key, identify_by_bearer
from accounts.models import ApiKey, Membership, User
from accounts.services import revoke_tokens
from accounts.tenancy import Credential, Tenant
from accounts.tokens import issue_access_token
from runs import lifecycle
from runs.api import access
from runs.api.feed import AccessLost, Joined
from runs.api.parts import PART_EVENTS
from runs.database import in_database
from runs.log import Hub, StreamCut
from runs.models import Purge, Run, Thread
from runs.states import RunStatus
from tests.appending import emit
from tests.factories import api_key_of, make_run, make_thread, tenant_of
from tests.runs.feeds import ALL, ended, feed_of, reading, until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("hub", "layer")]


def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "ACCESS_SECONDS", 0.02)


def lose_key(user: User) -> None:
    ApiKey.objects.update(revoked_at=timezone.now())


def expire_key(user: User) -> None:
    ApiKey.objects.update(expires_at=timezone.now() - timedelta(seconds=1))


def lose_sessions(user: User) -> None:
    revoke_tokens(user)


def deactivate(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def leave_organization(user: User) -> None:
    Membership.objects.filter(user=user).delete()


def unshare(user: User) -> None:
    Thread.objects.update(shared=False)


def delete_thread(user: User) -> None:
    lifecycle.delete_thread(Thread.objects.get().pk)


def replace_thread(user: User) -> None:
    thread = Thread.objects.get()
    lifecycle.delete_thread(thread.pk)
    Purge.objects.all().delete()
    make_thread(tenant_of(user), thread_id=thread.pk, shared=True)


BY_KEY = [(lose_key, 401), (expire_key, 401)]
BY_TOKEN = [(lose_sessions, 401)]
BY_BOTH = [(deactivate, 401), (leave_organization, 403), (unshare, 404), (delete_thread, 404), (replace_thread, 404)]


@pytest.mark.parametrize(
    ("by", "lose", "status"),
    [
        *(("key", *one) for one in BY_KEY + BY_BOTH),
        *(("token", *one) for one in BY_TOKEN + BY_BOTH),
    ],
)
async def test_a_feed_ends_when_its_reader_loses_access(
    run: Run, bob: User, by: str, lose: Callable[[User], None], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched(monkeypatch)
    await in_database(lambda: Thread.objects.update(shared=True))
    if by == "key":
        key = await in_database(api_key_of, bob)
        _, tenant = await in_database(identify_by_api_key, key)
    else:
        _, tenant = await in_database(identify_by_bearer, await in_database(issue_access_token, bob))
    feed = feed_of(tenant, run.thread_id)
    ending = asyncio.create_task(ended(feed))
    await until(lambda: feed._streams)
    await in_database(lose, bob)
    lost = await ending
    assert isinstance(lost, AccessLost) and lost.status == status


async def test_a_feed_ends_with_the_token_of_its_reader(run: Run, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    watched(monkeypatch)
    plain = await in_database(tenant_of, alice)
    end = timezone.now() + timedelta(seconds=0.2)
    credential = Credential("token", alice.pk, alice.token_version, end)
    lost = await ended(feed_of(replace(plain, credential=credential), run.thread_id))
    assert isinstance(lost, AccessLost) and lost.status == 401
    assert timezone.now() >= end


@pytest.mark.parametrize(("lose", "status"), [(lose_key, 401), (leave_organization, 403)])
async def test_who_waits_for_a_thread_loses_access_too(
    bob: User, lose: Callable[[User], None], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched(monkeypatch)
    _, tenant = await in_database(identify_by_api_key, await in_database(api_key_of, bob))
    feed = feed_of(tenant, "unknown")
    ending = asyncio.create_task(ended(feed))
    await until(lambda: feed._streams)
    await in_database(lose, bob)
    lost = await ending
    assert isinstance(lost, AccessLost) and lost.status == status


async def test_a_reader_who_may_not_read_on_is_stopped_in_the_middle_of_a_page(tenant: Tenant, run: Run) -> None:
    await emit(run, *range(5 * PART_EVENTS))
    found: list[int] = []
    with pytest.raises(AccessLost):
        async for part in feed_of(tenant, run.thread_id, since=0).events():
            assert not isinstance(part, Joined)
            found += [event.seq for event in part]
            (reader,) = access.current_watch()._readers
            reader.refuse(401)
    assert found == list(range(1, PART_EVENTS + 1))


async def test_nobody_is_sent_away_while_the_database_does_not_answer(
    tenant: Tenant, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched(monkeypatch)
    asked = 0

    def away(*_: object) -> list[int | None]:
        nonlocal asked
        asked += 1
        raise OperationalError("away")

    monkeypatch.setattr(access, "refusals", away)
    async with reading(feed_of(tenant, run.thread_id)) as reader:
        await until(lambda: asked > 3)
        await emit(run, 1)
        await until(lambda: reader.seqs == [1])


async def test_another_thread_of_the_same_id_is_never_shown(
    run: Run, alice: User, tenant: Tenant, charlie: User, hub: Hub
) -> None:
    """Not even before the watch looks again."""
    stranger = await in_database(tenant_of, charlie)

    def replace() -> Run:
        lifecycle.delete_thread(run.thread_id)
        Purge.objects.all().delete()
        return make_run(stranger, make_thread(stranger, thread_id=run.thread_id), status=RunStatus.RUNNING)

    async with reading(feed_of(tenant, run.thread_id)) as reader:
        await until(lambda: reader.joined)
        theirs = await in_database(replace)
        (subscription,) = hub._followers[run.thread_id]
        for number in range(10):
            await emit(theirs, number)
        await until(lambda: not subscription._bell.is_set() and not subscription.behind)
    assert [event for event in reader.events if event.method == "values"] == []


@pytest.mark.parametrize("lose", [delete_thread, replace_thread])
async def test_who_joins_a_feed_whose_thread_is_gone_waits_for_no_other(
    run: Run, alice: User, tenant: Tenant, lose: Callable[[User], None]
) -> None:
    feed = feed_of(tenant, run.thread_id)
    ending = asyncio.create_task(ended(feed))
    await until(lambda: feed._streams)
    await in_database(lose, alice)
    feed.join("two", ALL)
    lost = await ending
    assert isinstance(lost, AccessLost) and lost.status == 404


@pytest.mark.parametrize("thread_id", ["there", "unknown"])
async def test_a_cut_ends_a_feed_without_an_end(tenant: Tenant, run: Run, hub: Hub, thread_id: str) -> None:
    feed = feed_of(tenant, run.thread_id if thread_id == "there" else thread_id)
    ending = asyncio.create_task(ended(feed))
    await until(lambda: feed._streams)
    hub.cut()
    assert isinstance(await ending, StreamCut)
    assert isinstance(await ended(feed_of(tenant, thread_id)), StreamCut)
    assert not hub._followers
