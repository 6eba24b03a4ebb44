"""Finding threads. Only the page that is asked for is read, and of its rows only what is shown.

A tenant sees its own threads and those that others share. An index has either in order, and none has both, so either
is asked by itself and the two are merged.
"""

import heapq
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from accounts.tenancy import Tenant
from runs.models import Thread
from runs.models.thread import ThreadQuerySet
from runs.protocol import paths
from runs.protocol.requests.threads import ThreadCount, ThreadSearch
from runs.services.filters import with_keys, with_metadata

#: What each order goes by. Pinned threads come before those that were changed later.
_ORDERS = {
    "thread_id": ("pk",),
    "status": ("status", "pk"),
    "created_at": ("created_at", "pk"),
    "updated_at": ("pinned", "updated_at", "pk"),
    "state_updated_at": ("state_updated_at", "pk"),
}
_COLUMNS = frozenset(field.attname for field in Thread._meta.concrete_fields)


@dataclass(frozen=True, slots=True)
class FoundThreads:
    threads: list[Thread]
    #: How many there are at least, from the first on.
    total: int


def search_threads(tenant: Tenant, query: ThreadSearch) -> FoundThreads:
    """A page of threads, with the columns that the query asks to see."""
    keys = _keys(tenant, query)
    page = keys[: query.limit]
    rows = Thread.objects.for_tenant(tenant).filter(pk__in=page)
    if query.select is not None:
        rows = rows.only("pk", *_columns(query.select, query.extract or {}))
    by_key = {thread.pk: thread for thread in rows}
    # One that was deleted a moment ago is not shown.
    return FoundThreads([by_key[key] for key in page if key in by_key], query.offset + len(keys))


def count_threads(tenant: Tenant, query: ThreadCount) -> int:
    return sum(rows.count() for rows in _found(tenant, query))


def _columns(select: Collection[str], extract: dict[str, str]) -> set[str]:
    roots = {str(paths.parse(path)[0]) for path in extract.values()}
    return (set(select) | roots) & _COLUMNS


def _keys(tenant: Tenant, query: ThreadSearch) -> Sequence[str]:
    """The ids of the page, and one more when there are more."""
    descending = query.sort_order != "asc"
    order = _ORDERS[query.sort_by or "updated_at"]
    ordering = [f"-{column}" if descending else column for column in order]
    own, shared = (rows.order_by(*ordering).values_list(*order) for rows in _found(tenant, query))
    end = query.offset + query.limit + 1
    # Mostly nobody shares anything, and the database counts off the pages before.
    others: list[Any] = list(shared[:end])
    if not others:
        return [key[-1] for key in own[query.offset : end]]
    merged = heapq.merge(own[:end], others, reverse=descending)
    return [key[-1] for key in islice(merged, query.offset, end)]


def _found(tenant: Tenant, query: ThreadCount) -> tuple[ThreadQuerySet, ThreadQuerySet]:
    """The tenant's own threads among those that are looked for, and those of others."""
    found = Thread.objects.for_tenant(tenant).filter(temporary=False)
    if query.ids is not None:
        found = found.filter(pk__in=query.ids)
    if query.status:
        found = found.filter(status=query.status)
    found = with_keys(with_metadata(found, query.metadata), "values", query.values)
    return found.filter(owner_id=tenant.user_id), found.filter(shared=True).exclude(owner_id=tenant.user_id)
