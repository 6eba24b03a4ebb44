"""The outbox of webhooks: what each end of a run puts into it, and who may take it out."""

import json
import threading
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from accounts.tenancy import Tenant
from runs import lifecycle
from runs.lifecycle import ROLLED_BACK, Outcome, deliveries
from runs.lifecycle.deliveries import BACK_OFF, Room, Sending, claim_deliveries
from runs.models import Delivery, DeliveryStatus, Run, Thread, WebhookEndpoint
from runs.shapes import run_fields
from runs.signals import deliveries_due
from runs.states import CancelAction, RunStatus
from tests.appending import append
from tests.factories import WEBHOOK as URL
from tests.factories import make_delivery, make_run, make_thread, tenant_of
from tests.fakes import heard

pytestmark = pytest.mark.django_db(transaction=True)

ROOM = Room(total=20, for_organization=10, for_receiver=4)
ERROR = {"error": "ValueError", "message": "no"}


@pytest.fixture
def running(tenant: Tenant) -> Run:
    return make_run(tenant, status=RunStatus.RUNNING, webhook=URL, started_at=timezone.now())


def end(run: Run, outcome: Outcome) -> None:
    assert run.claim is not None
    assert append(run, outcome=outcome)


def claim_one() -> Sending:
    [sending] = claim_deliveries(ROOM, [])
    return sending


# What is put in.


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(RunStatus.SUCCESS, values=b'{"text":"hi"}'),
        Outcome(RunStatus.SUCCESS, values=b'{"text":"hi"}', waits_for_input=True),
        Outcome(RunStatus.ERROR, error=ERROR),
        Outcome(RunStatus.TIMEOUT, error=ERROR),
        Outcome(RunStatus.INTERRUPTED),
        ROLLED_BACK,
    ],
)
def test_every_end_is_told_once(running: Run, outcome: Outcome) -> None:
    with heard(deliveries_due) as due:
        end(running, outcome)
    delivery = Delivery.objects.get()
    body = json.loads(bytes(delivery.payload))
    assert (delivery.run_id, delivery.url, delivery.status) == (running.pk, URL, DeliveryStatus.PENDING)
    assert (body["status"], body["error"]) == (outcome.status, outcome.error)
    assert len(due) == 1
    # Whoever is late is told nothing more.
    assert running.claim is not None
    append(running, outcome=outcome)
    assert Delivery.objects.count() == 1


def test_the_news_are_the_run_as_the_api_shows_it_and_what_it_left(running: Run) -> None:
    end(running, Outcome(RunStatus.SUCCESS, values=b'{"text":"hi"}'))
    body = json.loads(bytes(Delivery.objects.get().payload))
    running.refresh_from_db()
    assert body.items() >= json.loads(json.dumps(run_fields(running))).items()
    assert body.keys() - run_fields(running).keys() == {"run_started_at", "run_ended_at", "webhook_sent_at", "values"}
    assert body["values"] == {"text": "hi"}
    assert running.started_at is not None and running.ended_at is not None
    assert datetime.fromisoformat(body["run_started_at"]) == running.started_at
    assert running.ended_at == datetime.fromisoformat(body["run_ended_at"])
    assert datetime.fromisoformat(body["webhook_sent_at"]) >= running.ended_at


def test_a_run_without_an_address_costs_nothing(tenant: Tenant) -> None:
    silent, loud = (make_run(tenant, status=RunStatus.RUNNING, webhook=url) for url in ("", URL))
    with CaptureQueriesContext(connection) as quiet:
        end(silent, Outcome(RunStatus.SUCCESS))
    with CaptureQueriesContext(connection) as told:
        end(loud, Outcome(RunStatus.SUCCESS))
    assert len(quiet) < len(told)
    assert not any("delivery" in query["sql"] or "webhookend" in query["sql"] for query in quiet)
    assert Delivery.objects.get().run_id == loud.pk


def cancel(run: Run) -> None:
    lifecycle.request_cancel(run.pk, run.thread_id, CancelAction.INTERRUPT)


def roll_back(run: Run) -> None:
    lifecycle.request_cancel(run.pk, run.thread_id, CancelAction.ROLLBACK)


def delete(run: Run) -> None:
    lifecycle.delete_run(run.pk, run.thread_id)


def delete_thread(run: Run) -> None:
    lifecycle.delete_thread(run.thread_id)


@pytest.mark.parametrize("ending", [cancel, roll_back, delete, delete_thread])
def test_the_end_of_a_run_that_never_began_is_told(tenant: Tenant, ending: Callable[[Run], None]) -> None:
    run = make_run(tenant, webhook=URL)
    ending(run)
    delivery = Delivery.objects.get()
    body = json.loads(bytes(delivery.payload))
    assert (delivery.run_id, body["run_started_at"]) == (run.pk, None)
    assert body["status"] in ("interrupted", "error")


@pytest.mark.parametrize("ending", [delete, delete_thread])
def test_the_news_outlive_the_run(running: Run, ending: Callable[[Run], None]) -> None:
    end(running, Outcome(RunStatus.SUCCESS))
    ending(running)
    assert not Run.objects.exists()
    assert claim_one().url == URL


def test_the_end_of_a_run_that_was_given_up_is_told(tenant: Tenant, settings: Settings) -> None:
    settings.MAX_ATTEMPTS = 1
    make_run(tenant, status=RunStatus.RUNNING, webhook=URL, lease_until=timezone.now() - timedelta(seconds=1))
    lifecycle.reap()
    assert json.loads(bytes(Delivery.objects.get().payload))["error"]["error"] == "worker_lost"


def test_a_run_that_goes_on_tells_nothing(running: Run) -> None:
    assert running.claim is not None
    lifecycle.release([(running.pk, running.claim)], crashed=True)
    assert not Delivery.objects.exists()


def test_what_is_not_committed_is_not_told(running: Run) -> None:
    with heard(deliveries_due) as due, pytest.raises(ZeroDivisionError), transaction.atomic():
        end(running, Outcome(RunStatus.SUCCESS))
        raise ZeroDivisionError
    assert due == [] and not Delivery.objects.exists()


def test_a_run_ends_whatever_its_values_are(running: Run) -> None:
    deep = b'{"a":' * 254 + b"1" + b"}" * 254
    end(running, Outcome(RunStatus.SUCCESS, values=deep))
    assert json.loads(bytes(Delivery.objects.get().payload))["values"] is None
    assert Run.objects.get().status == RunStatus.SUCCESS


@pytest.mark.parametrize("url", ["nowhere", "http://[", "https://a.example.com:99999/"])
def test_a_run_ends_whatever_its_address_is(tenant: Tenant, url: str) -> None:
    run = make_run(tenant, status=RunStatus.RUNNING, webhook=url)
    end(run, Outcome(RunStatus.SUCCESS))
    assert Delivery.objects.get().url == url


# Who takes it out.


def test_what_is_due_is_one_senders(tenant: Tenant) -> None:
    delivery = make_delivery(tenant)
    sending = claim_one()
    assert (sending.delivery_id, sending.payload, sending.attempts) == (delivery.pk, b"{}", 1)
    assert claim_deliveries(ROOM, []) == []


def test_many_senders_send_each_delivery_once(tenant: Tenant) -> None:
    rows = {make_delivery(tenant, receiver=f"r{i}").pk for i in range(10)}
    room = Room(total=100, for_organization=100, for_receiver=100)
    together = threading.Barrier(4)
    claimed: list[uuid.UUID] = []

    def send() -> None:
        together.wait(30)
        claimed.extend(sending.delivery_id for sending in claim_deliveries(room, []))
        connections.close_all()

    senders = [threading.Thread(target=send) for _ in range(4)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(60)
    # Who found what another one held has left it to that one.
    claimed += [sending.delivery_id for sending in claim_deliveries(room, [])]
    assert sorted(claimed) == sorted(rows)


def test_what_a_dead_sender_held_is_due_again(tenant: Tenant) -> None:
    make_delivery(tenant)
    dead = claim_one()
    Delivery.objects.update(next_attempt_at=timezone.now() - timedelta(seconds=1))
    alive = claim_one()
    assert (alive.delivery_id, alive.attempts) == (dead.delivery_id, 2)
    # The dead one was only slow: what it says does not count any more.
    assert not deliveries.delivered(dead, 200)
    assert not deliveries.not_delivered(dead, "late")
    assert deliveries.delivered(alive, 200)


def test_a_host_that_is_alone_need_not_wait_for_what_the_last_one_held(tenant: Tenant) -> None:
    make_delivery(tenant)
    dead = claim_one()
    deliveries.hand_back_orphans()
    assert claim_one().delivery_id == dead.delivery_id
    assert not deliveries.delivered(dead, 200)


def test_it_is_not_due_before_the_lease_has_ended(tenant: Tenant) -> None:
    make_delivery(tenant)
    claim_one()
    left = Delivery.objects.get().next_attempt_at - timezone.now()
    assert timedelta(seconds=30) < left <= deliveries.LEASE + timedelta(seconds=5)


def test_one_receiver_leaves_room_for_others(tenant: Tenant) -> None:
    for _ in range(50):
        make_delivery(tenant, receiver="dead", next_attempt_at=timezone.now() - timedelta(hours=1))
    other = make_delivery(tenant, receiver="healthy")
    first = claim_deliveries(ROOM, [])
    assert [sending.receiver for sending in first].count("dead") == ROOM.for_receiver
    assert other.pk in {sending.delivery_id for sending in first}
    assert claim_deliveries(ROOM, first) == []


def test_one_organization_leaves_room_for_others(tenant: Tenant, charlie: User) -> None:
    for number in range(50):
        make_delivery(tenant, receiver=f"dead {number}", next_attempt_at=timezone.now() - timedelta(hours=1))
    other = make_delivery(tenant_of(charlie), receiver="healthy")
    claimed = claim_deliveries(ROOM, [])
    assert len(claimed) == ROOM.for_organization + 1
    assert other.pk in {sending.delivery_id for sending in claimed}


def test_there_is_an_end_of_room(tenant: Tenant, charlie: User) -> None:
    for who in (tenant, tenant_of(charlie)):
        for number in range(15):
            make_delivery(who, receiver=f"{who.organization_id} {number}")
    assert len(claim_deliveries(ROOM, [])) == ROOM.total
    assert Delivery.objects.filter(claim=None).count() == 10


# What comes of it.


def test_what_was_delivered_is_over(tenant: Tenant) -> None:
    make_delivery(tenant)
    assert deliveries.delivered(claim_one(), 204)
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.last_status_code) == (DeliveryStatus.DELIVERED, 204)
    assert delivery.delivered_at is not None and bytes(delivery.payload) == b""


def test_what_failed_is_sent_again_later_and_later_and_then_no_more(tenant: Tenant) -> None:
    make_delivery(tenant)
    for attempt, pause in enumerate(BACK_OFF, 1):
        sending = claim_one()
        assert sending.attempts == attempt
        assert deliveries.not_delivered(sending, "it answered 500", status_code=500)
        delivery = Delivery.objects.get()
        assert (delivery.status, delivery.last_status_code) == (DeliveryStatus.PENDING, 500)
        seconds = (delivery.next_attempt_at - timezone.now()).total_seconds()
        assert pause * 0.8 - 2 < seconds <= pause * 1.2
        Delivery.objects.update(next_attempt_at=timezone.now() - timedelta(seconds=1))
    assert deliveries.not_delivered(claim_one(), "it answered 500", status_code=500)
    assert Delivery.objects.get().status == DeliveryStatus.FAILED
    assert claim_deliveries(ROOM, []) == []


@pytest.mark.parametrize(("rest", "pause"), [(0, 5), (600, 600), (1_000_000, 3600)])
def test_a_receiver_that_asks_for_rest_has_it_for_an_hour_at_most(tenant: Tenant, rest: float, pause: float) -> None:
    make_delivery(tenant)
    deliveries.not_delivered(claim_one(), "it answered 429", status_code=429, rest=rest)
    seconds = (Delivery.objects.get().next_attempt_at - timezone.now()).total_seconds()
    assert pause * 0.8 - 2 < seconds <= pause * 1.2


def test_an_address_that_is_gone_is_told_nothing_more_by_that_organization(
    tenant: Tenant, charlie: User, running: Run
) -> None:
    theirs = make_delivery(tenant_of(charlie))
    same, elsewhere = make_delivery(tenant), make_delivery(tenant, url="https://other.example.com/")
    make_delivery(tenant)
    sending = next(each for each in claim_deliveries(ROOM, []) if each.delivery_id not in (theirs.pk, elsewhere.pk))
    deliveries.disable(sending, 410)
    for delivery in (theirs, same, elsewhere):
        delivery.refresh_from_db()
    assert same.status == DeliveryStatus.DISABLED
    assert theirs.status == elsewhere.status == DeliveryStatus.PENDING
    end(running, Outcome(RunStatus.SUCCESS))
    assert Delivery.objects.get(run_id=running.pk).status == DeliveryStatus.DISABLED
    assert deliveries.is_disabled(tenant.organization_id, URL)
    assert not deliveries.is_disabled(theirs.organization_id, URL)


def test_being_told_so_twice_changes_nothing(tenant: Tenant) -> None:
    make_delivery(tenant), make_delivery(tenant)
    for sending in claim_deliveries(ROOM, []):
        deliveries.disable(sending, 410)
    assert WebhookEndpoint.objects.count() == 1
    assert set(Delivery.objects.values_list("status", flat=True)) == {DeliveryStatus.DISABLED}


def test_what_is_over_is_forgotten_after_the_retention(tenant: Tenant, settings: Settings) -> None:
    settings.EVENT_RETENTION_DAYS = 7
    long_ago = timezone.now() - timedelta(days=8)
    for status in DeliveryStatus:
        make_delivery(tenant, status=status)
        Delivery.objects.filter(pk=make_delivery(tenant, status=status).pk).update(created_at=long_ago)
    deliveries.prune_deliveries()
    assert Delivery.objects.count() == 5
    assert [each.status for each in Delivery.objects.filter(created_at=long_ago)] == [DeliveryStatus.PENDING]


def test_a_thread_can_be_deleted_whatever_is_still_to_be_sent(tenant: Tenant) -> None:
    thread = make_thread(tenant)
    make_run(tenant, thread, webhook=URL)
    lifecycle.delete_thread(thread.pk)
    assert not Thread.objects.exists()
