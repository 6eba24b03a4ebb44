"""Sending what is in the outbox, against receivers that take it, refuse it, hang and leave."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings
from standardwebhooks import Webhook

from accounts.models import Organization, User
from accounts.tenancy import Tenant
from runs.database import in_database
from runs.host import courier as couriers
from runs.host import sender as senders
from runs.host.courier import Courier, PublicNetwork
from runs.host.sender import Sender
from runs.lifecycle import deliveries
from runs.lifecycle.webhook_secrets import current_secret, rotate_secret
from runs.models import Delivery, DeliveryStatus, WebhookEndpoint
from runs.webhook_config import WebhookConfig
from tests.factories import make_delivery, tenant_of
from tests.receiver import Receiver, hang, receiving, status

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def tenant(alice: User, acme: Organization, settings: Settings) -> Tenant:
    settings.WEBHOOK_ALLOW_PRIVATE = True
    return tenant_of(alice)


class Post:
    """A sender, and the wake-ups that it asks for."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.sender = Sender(Courier(WebhookConfig(), PublicNetwork()), self.wake.set)

    async def until_sent(self) -> None:
        """Send what is due until nothing is under way."""
        while True:
            await self.sender.send_due()
            if not self.sender._sendings:
                return
            await self.wake.wait()
            self.wake.clear()


@pytest.fixture
def post() -> Iterator[Post]:
    yield Post()


async def put(tenant: Tenant, receiver: Receiver, count: int = 1) -> None:
    fields = {"url": receiver.url, "receiver": f"127.0.0.1 {receiver.port}"}
    await in_database(lambda: [make_delivery(tenant, **fields) for _ in range(count)])


async def the_only() -> Delivery:
    return await in_database(Delivery.objects.get)


async def make_due() -> None:
    past = timezone.now() - timedelta(seconds=1)
    await in_database(lambda: Delivery.objects.update(next_attempt_at=past))


async def test_what_is_due_is_sent_and_signed_with_the_organizations_secret(tenant: Tenant, post: Post) -> None:
    async with receiving() as receiver:
        await put(tenant, receiver)
        await post.until_sent()
    [got] = receiver.got
    delivery = await the_only()
    assert (delivery.status, delivery.last_status_code) == (DeliveryStatus.DELIVERED, 200)
    assert (got.body, got.headers["webhook-id"]) == (b"{}", str(delivery.pk))
    Webhook(await in_database(current_secret, tenant.organization_id)).verify(got.body, got.headers)


async def test_both_secrets_verify_it_while_they_change(tenant: Tenant, post: Post) -> None:
    before = await in_database(current_secret, tenant.organization_id)
    after = await in_database(rotate_secret, tenant.organization_id)
    async with receiving() as receiver:
        await put(tenant, receiver)
        await post.until_sent()
    for secret in (before, after):
        Webhook(secret).verify(receiver.got[0].body, receiver.got[0].headers)


async def test_it_is_sent_again_under_the_same_id(tenant: Tenant, post: Post) -> None:
    async with receiving(status(500), status(200)) as receiver:
        await put(tenant, receiver)
        await post.until_sent()
        delivery = await the_only()
        assert (delivery.status, delivery.last_error) == (DeliveryStatus.PENDING, "it answered 500")
        await post.until_sent()
        assert len(receiver.got) == 1
        await make_due()
        await post.until_sent()
    first, second = receiver.got
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert (await the_only()).status == DeliveryStatus.DELIVERED


async def test_a_redirect_is_a_failure(tenant: Tenant, post: Post) -> None:
    async with receiving() as inside, receiving(status(302, f"Location: {inside.url}")) as receiver:
        await put(tenant, receiver)
        await post.until_sent()
    assert inside.got == []
    assert (await the_only()).last_error == "it answered 302"


async def test_a_receiver_that_is_gone_is_told_nothing_more(tenant: Tenant, post: Post) -> None:
    async with receiving(status(410)) as receiver:
        await put(tenant, receiver, senders.ROOM.for_receiver + 3)
        await post.until_sent()
        assert len(receiver.got) == senders.ROOM.for_receiver
    statuses = await in_database(lambda: set(Delivery.objects.values_list("status", flat=True)))
    assert statuses == {DeliveryStatus.DISABLED}
    assert await in_database(WebhookEndpoint.objects.filter(url=receiver.url).exists)


async def test_a_receiver_that_hangs_is_given_up(tenant: Tenant, post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(couriers, "TIMEOUT", 0.2)
    async with receiving(hang) as receiver:
        await put(tenant, receiver)
        await post.until_sent()
    assert (await the_only()).last_error == "it did not answer in time"


async def test_one_that_was_killed_between_sending_and_marking_sends_it_again(
    tenant: Tenant, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving() as receiver:
        await put(tenant, receiver)
        with monkeypatch.context() as dying:
            dying.setattr(deliveries, "delivered", lambda *_: True)
            await post.until_sent()
        assert (await the_only()).status == DeliveryStatus.PENDING
        await make_due()
        await Post().until_sent()
    assert len({got.headers["webhook-id"] for got in receiver.got}) == 1
    assert len(receiver.got) == 2
    assert (await the_only()).status == DeliveryStatus.DELIVERED


async def test_one_that_stops_leaves_it_to_the_next(tenant: Tenant, post: Post) -> None:
    async with receiving(hang, status(200)) as receiver:
        await put(tenant, receiver)
        await post.sender.send_due()
        await receiver.received(1)
        await post.sender.stop()
        await Post().until_sent()
        assert len(receiver.got) == 2
    delivery = await the_only()
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.DELIVERED, 1)


async def test_one_that_drains_begins_nothing(tenant: Tenant, post: Post) -> None:
    async with receiving() as receiver:
        await put(tenant, receiver)
        post.sender.draining = True
        await post.until_sent()
    assert receiver.got == []


async def test_a_dead_receiver_delays_nobody_else(tenant: Tenant, post: Post, charlie: User) -> None:
    theirs = await in_database(tenant_of, charlie)
    async with receiving(hang) as dead, receiving() as neighbour, receiving() as healthy:
        await put(tenant, dead, 1000)
        await put(tenant, neighbour, 10)
        await put(theirs, healthy, 10)

        async def sends() -> None:
            while True:
                await post.sender.send_due()
                await post.wake.wait()
                post.wake.clear()

        sending = asyncio.create_task(sends())
        await neighbour.received(10)
        await healthy.received(10)
        sending.cancel()
        assert len(dead.got) <= senders.ROOM.for_receiver
        await post.sender.stop()


async def test_what_goes_wrong_with_one_is_tried_again(
    tenant: Tenant, post: Post, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with receiving() as receiver:
        await put(tenant, receiver)
        with monkeypatch.context() as broken:
            broken.setattr(senders, "signing_secrets", lambda _: 1 / 0)
            await post.until_sent()
        assert "a delivery failed" in caplog.text
        await make_due()
        await post.until_sent()
        assert len(receiver.got) == 1
