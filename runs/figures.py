"""What is going on in all organisations together, in a few cheap numbers: for those who watch the installation."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Exists, Min, OuterRef, Q
from django.db.models.functions import Coalesce, Now

from runs.models import Delivery, DeliveryStatus, Purge, Run
from runs.states import ACTIVE, RunStatus


@dataclass(frozen=True, slots=True)
class Figures:
    #: How many there are of each status that is not an end.
    active_runs: Mapping[str, int]
    #: Since when the run that has been due longest has been due, of those whose turn it is; None when there is none.
    oldest_due: datetime | None
    expired_leases: int
    pending_deliveries: int
    #: Deleted threads whose checkpoints are still there.
    purges: int


def figures() -> Figures:
    """As of now; each is read from an index of what is not over."""
    counted = dict(Run.objects.active().order_by().values_list("status").annotate(Count("pk")))
    before = Run.objects.filter(thread=OuterRef("thread"), position__lt=OuterRef("position")).active()
    due = Run.objects.filter(
        Q(not_before=None) | Q(not_before__lte=Now()), ~Exists(before), status=RunStatus.PENDING
    ).aggregate(since=Min(Coalesce("not_before", "created_at")))
    return Figures(
        active_runs={status.value: counted.get(status, 0) for status in ACTIVE},
        oldest_due=due["since"],
        expired_leases=Run.objects.filter(status=RunStatus.RUNNING, lease_until__lt=Now()).count(),
        pending_deliveries=Delivery.objects.filter(status=DeliveryStatus.PENDING).count(),
        purges=Purge.objects.count(),
    )
