"""Where subscriptions to the events of a thread begin."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import orjson
from django.db.models import Exists, OuterRef, Subquery

from accounts.tenancy import Tenant
from runs.log import oldest_seq_of_thread, read_run_back, start_of_runs_at
from runs.models import EventChunk, Run, Thread
from runs.protocol.selection import Selection
from runs.services.runs import current_run
from runs.states import ACTIVE

#: How many runs one read of a chain brings.
_CHAIN = 20


class State(NamedTuple):
    """Values of a thread as JSON, and when they were so, in milliseconds."""

    values: bytes
    timestamp: int


@dataclass(frozen=True, slots=True)
class Start:
    """Where subscriptions begin."""

    #: Of the thread; a later one of its id is another one.
    created_at: datetime
    #: The number of the thread's last event.
    last_seq: int
    #: Events above it are shown.
    after: int
    #: Events above it are to be read for that.
    read_after: int
    #: Events above the reader's cursor are not kept any more; `after` is the last of them.
    gap: bool = False
    #: Whether events are kept at all; without a gap it is not known.
    kept: bool = True
    #: What is shown first.
    state: State | None = None

    @property
    def oldest(self) -> int | None:
        """After a gap: the number of the oldest event that is kept."""
        return self.after + 1 if self.kept else None


def start_of(tenant: Tenant, thread_id: str, wanted: Iterable[Selection], since: int | None) -> Start | None:
    """Where these begin together; None when the thread is not there for the tenant.

    After `since`; without it, or when the log has not come that far, since it is another thread's then, before the
    thread's current run, and before those in whose queue it stood: all that their client may have missed. The state
    comes first unless the reader goes on where it was.
    """
    thread = _thread(tenant, thread_id)
    if thread is None:
        return None
    channels = frozenset[str]().union(*(selection.channels for selection in wanted))
    shows_state = any(selection.wants("values", ()) for selection in wanted)
    if since is None or since > thread.last_seq:
        current = current_run(tenant, thread_id)
        after = _before(tenant, thread, current)
        state = _state(tenant, thread, current) if shows_state else None
        return Start(thread.created_at, thread.last_seq, after, after, state=state)
    oldest = oldest_seq_of_thread(thread.pk)
    if since < thread.last_seq and (oldest is None or oldest > since + 1) and _was_pruned(tenant, thread):
        after = thread.last_seq if oldest is None else oldest - 1
        state = _state(tenant, thread, current_run(tenant, thread_id)) if shows_state else None
        return Start(thread.created_at, thread.last_seq, after, after, gap=True, kept=oldest is not None, state=state)
    # What a run of the classic API says is added up from its first event on.
    read_after = start_of_runs_at(thread.pk, since, classic_only=True) if "messages" in channels else since
    return Start(thread.created_at, thread.last_seq, since, read_after)


def _thread(tenant: Tenant, thread_id: str) -> Thread | None:
    found = Thread.objects.for_tenant(tenant).filter(pk=thread_id)
    return found.only("created_at", "last_seq", "last_position").first()


def _was_pruned(tenant: Tenant, thread: Thread) -> bool:
    """Whether a run has ended of which no event is kept; a deleted one took its events along, and is no loss."""
    kept = Exists(EventChunk.objects.filter(run=OuterRef("pk")))
    return Run.objects.for_tenant(tenant).filter(~kept, thread=thread).exclude(status__in=ACTIVE).exists()


def _before(tenant: Tenant, thread: Thread, current: Run | None) -> int:
    """The number after which a thread is shown to whoever knows nothing of it."""
    if current is None:
        return thread.last_seq
    if current.status not in ACTIVE and current.position < thread.last_position:
        # Its state was changed since: the last run would end in an older one.
        return thread.last_seq
    return _start_of_chain(tenant, thread, current)


def _start_of_chain(tenant: Tenant, thread: Thread, current: Run) -> int:
    """A number before the runs that were each still active when the next one, down to the current one, was made."""
    chunks = EventChunk.objects.filter(run=OuterRef("pk")).order_by("-last_seq")
    reached = Subquery(chunks.values("last_seq")[:1])
    runs = Run.objects.for_tenant(tenant).filter(thread=thread).order_by("-position")
    after, position = current.after_seq, current.position
    while True:
        earlier = runs.filter(position__lt=position).values_list("position", "after_seq", "status", reached)
        page = list(earlier[:_CHAIN])
        for _, after_seq, status, last_seq in page:
            if status not in ACTIVE and (last_seq is None or last_seq <= after):
                return after
            after = after_seq
        if len(page) < _CHAIN:
            return after
        position = page[-1][0]


def _state(tenant: Tenant, thread: Thread, current: Run | None) -> State | None:
    """What is shown first to those who want values: what an active run has reached, or the thread's."""
    if current and current.status in ACTIVE:
        # Before its first values, the thread's would be older than the input that its client shows already.
        return _last_values(current.run_id)
    found = Thread.objects.for_tenant(tenant).filter(pk=thread.pk, created_at=thread.created_at)
    left = found.only("values", "state_updated_at").first()
    if left is None or left.values is None:
        return None
    return State(orjson.dumps(left.values), int(left.state_updated_at.timestamp() * 1000))


def _last_values(run_id: uuid.UUID) -> State | None:
    """The last values of its root graph that a run has recorded."""
    for chunk in read_run_back(run_id):
        if not (chunk.payload.startswith(b"values ") or b"\nvalues " in chunk.payload):
            continue
        lines = chunk.payload.split(b"\n")
        for i in range(len(lines) - 2, -1, -2):
            method, timestamp, where = lines[i].split(b" ", 2)
            if method == b"values" and where == b"[]":
                return State(lines[i + 1], int(timestamp))
    return None
