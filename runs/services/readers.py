"""Those who read a thread for long: whether they may go on, asked for all of them at once."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from accounts.access import tenants_in_force
from accounts.tenancy import Tenant
from runs.models import Thread

#: What a reader of events must be allowed.
READ = "threads:read"


class Reading(NamedTuple):
    """Who reads which thread."""

    tenant: Tenant
    thread_id: str
    #: When it was made, since another one may have its id later; None: the reader waits for one.
    created_at: datetime | None


def refusals(readings: Sequence[Reading]) -> list[int | None]:
    """For each reader the status with which they would be refused now; None when they may read on.

    401 without a credential that is good, 403 when the role does not allow it any more, 404 when the thread is not
    there for them any more. The number of queries does not grow with the readers.
    """
    tenants = tenants_in_force([reading.tenant for reading in readings])
    threads = _threads(reading.thread_id for reading in readings if reading.created_at)
    return [
        _refusal(reading, tenant, threads.get(reading.thread_id))
        for reading, tenant in zip(readings, tenants, strict=True)
    ]


def arrivals(readings: Sequence[Reading]) -> list[datetime | None]:
    """For each reader when the thread was made that they can see by now; None: they see none."""
    threads = _threads(reading.thread_id for reading in readings)
    found = [threads.get(reading.thread_id) for reading in readings]
    return [
        thread.created_at if thread and thread.is_open_to(reading.tenant) else None
        for reading, thread in zip(readings, found, strict=True)
    ]


def _threads(thread_ids: Iterable[str]) -> dict[str, Thread]:
    """Rows of anybody's, to be held against each tenant."""
    wanted = set(thread_ids)
    if not wanted:
        return {}
    rows = Thread.objects.filter(pk__in=wanted).only("organization_id", "owner_id", "shared", "created_at")
    return {thread.pk: thread for thread in rows}


def _refusal(reading: Reading, tenant: Tenant | None, thread: Thread | None) -> int | None:
    if tenant is None:
        return 401
    if not tenant.can(READ):
        return 403
    if reading.created_at is None:
        return None
    if thread is None or thread.created_at != reading.created_at or not thread.is_open_to(tenant):
        return 404
    return None
