"""Reading rows of the log."""

import uuid

from django.db.models import QuerySet

from runs.models import EventChunk, Thread
from runs.records import Chunk

#: How many rows one read brings at most.
PAGE = 200


def read_after(thread_id: str, after: int) -> list[Chunk]:
    """The next chunks of a thread, at most PAGE, that hold an event numbered above `after`.

    The first of them may begin at or below `after`.
    """
    return _page(EventChunk.objects.filter(thread_id=thread_id), after)


def read_run_after(run_id: uuid.UUID, after: int) -> list[Chunk]:
    """As `read_after`, of one run."""
    return _page(EventChunk.objects.filter(run_id=run_id), after)


def _page(rows: "QuerySet[EventChunk]", after: int) -> list[Chunk]:
    return [row.chunk() for row in rows.filter(last_seq__gt=after).order_by("first_seq")[:PAGE]]


def oldest_seq(run_id: uuid.UUID) -> int | None:
    """The number of the oldest event of a run that is still kept."""
    row = EventChunk.objects.filter(run_id=run_id).order_by("first_seq").values_list("first_seq", flat=True)
    return row.first()


def last_seqs(thread_ids: list[str]) -> dict[str, int]:
    """The number of the last event of each of these threads; a thread that is missing was deleted."""
    return dict(Thread.objects.filter(pk__in=thread_ids).values_list("thread_id", "last_seq"))
