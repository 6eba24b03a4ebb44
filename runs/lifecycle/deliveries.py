"""The outbox of webhooks: news of ended runs, from the transaction that ends the run until the receiver has them.

Whoever sends holds a delivery by its `claim` until `next_attempt_at`, by the database's clock. Who dies meanwhile
leaves a delivery that is due again then, so a receiver may hear twice of one end, under one id.
"""

import logging
import random
import uuid
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from runs.addresses import receiver_of
from runs.models import Delivery, DeliveryStatus, Run, WebhookEndpoint
from runs.news import tell
from runs.shapes import run_fields
from runs.signals import deliveries_due

logger = logging.getLogger(__name__)

#: How long a claimed delivery is its sender's. Longer than any sending takes.
LEASE = timedelta(seconds=60)
#: Seconds until the next attempt after each that failed; then nobody tries any more.
BACK_OFF = (5, 30, 120, 600, 1800, 3600, 7200, 14400, 28800)
_JITTER = 0.2
#: The longest that a receiver may ask to be left alone.
_LONGEST_REST = 3600.0
_BATCH = 200


def add_delivery(run_id: uuid.UUID) -> None:
    """Put the news of this run, which has just ended, into the outbox: in the transaction that ended it."""
    run = Run.objects.select_related("thread").get(run_id=run_id)
    disabled = is_disabled(run.organization_id, run.webhook)
    Delivery.objects.create(
        organization_id=run.organization_id,
        run_id=run_id,
        url=run.webhook,
        receiver=receiver_of(run.webhook),
        payload=b"" if disabled else _payload(run),
        status=DeliveryStatus.DISABLED if disabled else DeliveryStatus.PENDING,
    )
    tell(deliveries_due)


def _payload(run: Run) -> bytes:
    """The run as the API shows it, and what it left. Made once: each attempt sends the same bytes."""
    body = {
        **run_fields(run),
        "run_started_at": _time(run.started_at),
        "run_ended_at": _time(run.ended_at),
        "webhook_sent_at": _time(timezone.now()),
    }
    try:
        return _json({**body, "values": run.thread.values})
    except orjson.JSONEncodeError as exc:
        # Whatever is in them, the run has to end.
        logger.error("the webhook of run %s goes without values: %s", run.run_id, exc)
        return _json({**body, "values": None})


def _json(body: dict[str, Any]) -> bytes:
    return orjson.dumps(body, default=str, option=orjson.OPT_NON_STR_KEYS)


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def is_disabled(organization_id: uuid.UUID, url: str) -> bool:
    """Whether the address has told the organization that it is gone."""
    return WebhookEndpoint.objects.filter(organization_id=organization_id, url=url).exists()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """A claimed delivery, with all that its sender must know."""

    delivery_id: uuid.UUID
    claim: uuid.UUID
    organization_id: uuid.UUID
    url: str
    receiver: str
    payload: bytes
    #: This one is counted.
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How many deliveries may be claimed in all, for one organization, and for one receiver."""

    total: int
    for_organization: int
    for_receiver: int


def claim_deliveries(room: Room, held: Collection[Sending]) -> list[Sending]:
    """Claim what is due and finds room beside what the caller holds already, longest due first."""
    taken = _Taken(room, held)
    chosen: list[uuid.UUID] = []
    while taken.total < room.total:
        found = list(taken.others().exclude(pk__in=chosen)[: room.total])
        fitting = [pk for pk, organization_id, receiver in found if taken.take(organization_id, receiver)]
        chosen += fitting
        if not fitting or len(found) < room.total:
            break
    return _claim(chosen) if chosen else []


class _Taken:
    """What is taken of a room."""

    def __init__(self, room: Room, held: Collection[Sending]) -> None:
        self._room = room
        self.total = len(held)
        self._organizations = Counter(sending.organization_id for sending in held)
        self._receivers = Counter(sending.receiver for sending in held)

    def take(self, organization_id: uuid.UUID, receiver: str) -> bool:
        """Whether one more finds room; then it is taken."""
        if (
            self.total >= self._room.total
            or self._organizations[organization_id] >= self._room.for_organization
            or self._receivers[receiver] >= self._room.for_receiver
        ):
            return False
        self.total += 1
        self._organizations[organization_id] += 1
        self._receivers[receiver] += 1
        return True

    def others(self) -> QuerySet[Delivery, tuple[uuid.UUID, uuid.UUID, str]]:
        """Due deliveries of those who still find room: those of the others must not stand before them."""
        full_organizations = _full(self._organizations, self._room.for_organization)
        full_receivers = _full(self._receivers, self._room.for_receiver)
        found = _due().exclude(Q(organization_id__in=full_organizations) | Q(receiver__in=full_receivers))
        return found.order_by("next_attempt_at").values_list("pk", "organization_id", "receiver")


def _full(counts: Mapping[Any, int], limit: int) -> list[Any]:
    return [who for who, count in counts.items() if count >= limit]


def _due() -> QuerySet[Delivery]:
    return Delivery.objects.filter(status=DeliveryStatus.PENDING, next_attempt_at__lte=Now())


def _claim(chosen: Collection[uuid.UUID]) -> list[Sending]:
    token = uuid.uuid4()
    with transaction.atomic():
        # Another sender may have been here since.
        due = _due().filter(pk__in=chosen)
        ours = list(due.select_for_update(skip_locked=True).values_list("pk", flat=True))
        mine = Delivery.objects.filter(pk__in=ours)
        mine.update(claim=token, attempts=F("attempts") + 1, next_attempt_at=Now() + LEASE)
        rows = list(mine)
    return [
        Sending(
            delivery_id=row.pk,
            claim=token,
            organization_id=row.organization_id,
            url=row.url,
            receiver=row.receiver,
            payload=bytes(row.payload),
            attempts=row.attempts,
        )
        for row in rows
    ]


def _held(sending: Sending) -> QuerySet[Delivery]:
    return Delivery.objects.filter(pk=sending.delivery_id, claim=sending.claim, status=DeliveryStatus.PENDING)


def hand_back(sendings: Collection[Sending]) -> None:
    """Give up what was claimed and not sent to its end: it is due at once, for whoever comes."""
    for sending in sendings:
        _held(sending).update(claim=None, attempts=F("attempts") - 1, next_attempt_at=Now())


def hand_back_orphans() -> None:
    """Give up all that is claimed: whoever claimed it is gone."""
    claimed = Delivery.objects.filter(status=DeliveryStatus.PENDING, claim__isnull=False)
    claimed.update(claim=None, next_attempt_at=Now())


def delivered(sending: Sending, status_code: int) -> bool:
    """The receiver has it. Answers whether it was still the sender's."""
    return bool(
        _held(sending).update(
            status=DeliveryStatus.DELIVERED,
            claim=None,
            payload=b"",
            last_status_code=status_code,
            last_error="",
            delivered_at=timezone.now(),
        )
    )


def not_delivered(sending: Sending, error: str, *, status_code: int | None = None, rest: float = 0.0) -> bool:
    """It was not taken: it is sent again later, unless that was done often enough.

    `error`: a few words that may be shown. `rest`: the seconds for which the receiver asked to be left alone. Answers
    whether the delivery was still the sender's.
    """
    fields: dict[str, Any] = {"claim": None, "last_status_code": status_code, "last_error": error[:200]}
    if sending.attempts > len(BACK_OFF):
        return bool(_held(sending).update(status=DeliveryStatus.FAILED, **fields))
    pause = BACK_OFF[sending.attempts - 1] * random.uniform(1 - _JITTER, 1 + _JITTER)
    pause = max(pause, min(rest, _LONGEST_REST))
    return bool(_held(sending).update(next_attempt_at=Now() + timedelta(seconds=pause), **fields))


def disable(sending: Sending, status_code: int) -> None:
    """The receiver is gone for good: neither this nor anything else of the organization is sent there any more."""
    with transaction.atomic():
        # First, so that two who are told so at once do not hold deliveries that the other one wants.
        WebhookEndpoint.objects.get_or_create(organization_id=sending.organization_id, url=sending.url)
        _held(sending).update(last_status_code=status_code)
        pending = Delivery.objects.filter(
            organization_id=sending.organization_id, url=sending.url, status=DeliveryStatus.PENDING
        )
        pending.update(status=DeliveryStatus.DISABLED, claim=None, payload=b"", last_error="the receiver is gone")


def send_again(failed: QuerySet[Delivery]) -> int:
    """Begin anew with those of these that failed. Answers how many."""
    with transaction.atomic():
        count = failed.filter(status=DeliveryStatus.FAILED).update(
            status=DeliveryStatus.PENDING, attempts=0, next_attempt_at=Now()
        )
        if count:
            tell(deliveries_due)
    return count


def prune_deliveries() -> None:
    """Forget the deliveries that were over before the retention of events began."""
    before = timezone.now() - timedelta(days=settings.EVENT_RETENTION_DAYS)
    over = Delivery.objects.filter(created_at__lt=before).exclude(status=DeliveryStatus.PENDING)
    old = list(over.order_by("created_at").values_list("pk", flat=True)[:_BATCH])
    if old:
        Delivery.objects.filter(pk__in=old).delete()
