"""Reading rows of the log."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet

from accounts.prepared import Prepared
from accounts.tenancy import Tenant
from runs.models import EventChunk, Run, Thread
from runs.records import Chunk, decompress
from runs.states import ACTIVE

#: How many rows one read brings at most: as many as usual, and where they have turned out to be heavy.
PAGE, SHORT_PAGE = 200, 8
#: And what their payloads may weigh together, but for the last one: each of many readers holds a page for a while.
PAGE_BYTES = 128 * 1024

_COLUMNS = ("thread_id", "run_id", "first_seq", "last_seq", "payload")


Rows = QuerySet[EventChunk, tuple[Any, ...]]


def _rows(*conditions: Any, after: int, **of: Any) -> Rows:
    return EventChunk.objects.filter(*conditions, last_seq__gt=after, **of).order_by("last_seq").values_list(*_COLUMNS)


def _visible_rows(
    organization_id: uuid.UUID, user_id: uuid.UUID, thread_id: str, created_at: datetime, after: int
) -> Rows:
    visible = Thread.objects.for_tenant(Tenant(organization_id, user_id, frozenset()))
    return _rows(Exists(visible.filter(pk=thread_id, created_at=created_at)), thread_id=thread_id, after=after)


class _Pages:
    """Reads pages of rows, which `build` finds."""

    def __init__(self, build: Callable[..., Rows], **example: Any) -> None:
        self._queries = {
            limit: Prepared(lambda limit=limit, **values: build(**values)[:limit], **example)
            for limit in (PAGE, SHORT_PAGE)
        }

    def read(self, limit: int, **values: Any) -> list[Chunk]:
        chunks: list[Chunk] = []
        weight = 0
        for row in self._queries[limit].rows(**values):
            chunks.append(_chunk(*row))
            weight += len(chunks[-1].payload)
            if weight >= PAGE_BYTES:
                break
        return chunks


_of_thread = _Pages(_rows, thread_id="example", after=1)
_of_run = _Pages(_rows, run_id=uuid.UUID(int=1), after=1)
_of_visible = _Pages(
    _visible_rows,
    organization_id=uuid.UUID(int=1),
    user_id=uuid.UUID(int=2),
    thread_id="example",
    created_at=datetime(2000, 1, 1, tzinfo=UTC),
    after=7,
)


def read_after(thread_id: str, after: int, limit: int = PAGE) -> list[Chunk]:
    """The next chunks of a thread that hold an event numbered above `after`: a page, see `follows`.

    The first of them may begin at or below `after`. `limit`: PAGE or SHORT_PAGE.
    """
    return _of_thread.read(limit, thread_id=thread_id, after=after)


def read_run_after(run_id: uuid.UUID, after: int, limit: int = PAGE) -> list[Chunk]:
    """As `read_after`, of one run."""
    return _of_run.read(limit, run_id=run_id, after=after)


def follows(page: Sequence[Chunk], limit: int) -> int:
    """The limit for the page after this one, which was read with `limit`; 0: there was no more."""
    if sum(len(chunk.payload) for chunk in page) >= PAGE_BYTES:
        return SHORT_PAGE
    return PAGE if len(page) == limit else 0


def _chunk(thread_id: str, run_id: uuid.UUID, first_seq: int, last_seq: int, payload: bytes) -> Chunk:
    return Chunk(thread_id, str(run_id), first_seq, last_seq, decompress(payload))


def read_run_back(run_id: uuid.UUID) -> Iterator[Chunk]:
    """The chunks of a run, the last one first."""
    before: int | None = None
    while True:
        rows = EventChunk.objects.filter(run_id=run_id).order_by("-last_seq")
        if before is not None:
            rows = rows.filter(last_seq__lt=before)
        page = list(rows.values_list(*_COLUMNS)[:SHORT_PAGE])
        yield from (_chunk(*row) for row in page)
        if len(page) < SHORT_PAGE:
            return
        before = page[-1][3]


def read_visible_after(
    tenant: Tenant, thread_id: str, created_at: datetime, after: int, limit: int = PAGE
) -> list[Chunk]:
    """As `read_after`; none when the tenant can not see the thread, or it is another one that has its id now."""
    return _of_visible.read(
        limit,
        organization_id=tenant.organization_id,
        user_id=tenant.user_id,
        thread_id=thread_id,
        created_at=created_at,
        after=after,
    )


def oldest_seq(run_id: uuid.UUID) -> int | None:
    """The number of the oldest event of a run that is still kept."""
    row = EventChunk.objects.filter(run_id=run_id).order_by("last_seq").values_list("first_seq", flat=True)
    return row.first()


def oldest_seq_of_thread(thread_id: str) -> int | None:
    """The number of the oldest event of a thread that is still kept."""
    row = EventChunk.objects.filter(thread_id=thread_id).order_by("last_seq").values_list("first_seq", flat=True)
    return row.first()


def start_of_runs_at(thread_id: str, seq: int, *, classic_only: bool = False) -> int:
    """A number before all events of the runs that have some up to `seq` and may have some above it.

    `seq` itself when there is none. `classic_only`: of those that were not started by the streaming protocol.
    """
    chunks = EventChunk.objects.filter(run=OuterRef("pk"))
    goes_on = Q(status__in=ACTIVE) | Q(Exists(chunks.filter(last_seq__gt=seq)))
    runs = Run.objects.filter(goes_on, Exists(chunks.filter(first_seq__lte=seq)), thread_id=thread_id)
    found = runs.filter(after_seq__lt=seq).values_list("after_seq", "kwargs__event_streaming")
    return min([seq, *(after_seq for after_seq, by_protocol in found if not (classic_only and by_protocol))])


def last_seqs(thread_ids: list[str]) -> dict[str, int]:
    """The number of the last event of each of these threads; a thread that is missing was deleted."""
    return dict(Thread.objects.filter(pk__in=thread_ids).values_list("thread_id", "last_seq"))


def edges(run_id: uuid.UUID) -> list[Chunk]:
    """The first and the last chunk of a run that are kept; one, when that is all."""
    rows = EventChunk.objects.filter(run_id=run_id).order_by("last_seq").values_list(*_COLUMNS)
    found = {row[3]: row for row in (rows.first(), rows.last()) if row}
    return [_chunk(*row) for row in found.values()]
