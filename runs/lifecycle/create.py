"""A new run on a thread: its turn, and what it does to the active ones."""

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from django.db import connection, models
from django.utils import timezone

from runs.lifecycle.adapted import adapted_time
from runs.lifecycle.cancel import cancel_in_transaction
from runs.models import Purge, Run, Thread
from runs.news import tell
from runs.signals import runs_pending
from runs.states import CancelAction, MultitaskStrategy, RunStatus, ThreadStatus
from runs.titles import title_of


class ThreadBusy(Exception):
    """Thread is already running a task. Wait for it to finish or choose a different multitask strategy."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A thread as a new run finds it, held until the transaction ends."""

    thread_id: str
    last_seq: int = 0
    last_position: int = 0
    metadata: dict[str, Any] = field(default_factory=dict)
    settled_status: str = ThreadStatus.IDLE
    #: Whether it is not whole yet, or goes with its run.
    temporary: bool = False
    #: Whether a run of it is active.
    busy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    run_id: uuid.UUID
    organization_id: uuid.UUID
    owner_id: uuid.UUID
    assistant_id: uuid.UUID
    graph_id: str
    strategy: MultitaskStrategy
    kwargs: dict[str, Any]
    metadata: dict[str, Any]
    not_before: datetime | None = None
    follow_up_to_run_id: uuid.UUID | None = None
    webhook: str = ""


#: How a strategy ends the active runs.
_ENDS = {MultitaskStrategy.INTERRUPT: CancelAction.INTERRUPT, MultitaskStrategy.ROLLBACK: CancelAction.ROLLBACK}


class BeingDeleted(Exception):
    """A thread with this ID is being deleted; try again."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


# Written out by hand, as every run passes here: composing them costs Django more than running them costs the database.
_INSERT_THREAD = """
INSERT INTO runs_thread (thread_id, organization_id, owner_id, shared, temporary, status, graph_id, metadata, config,
    interrupts, last_seq, last_position, created_at, updated_at, state_updated_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, '{}', '{}', 0, %s, %s, %s, %s)
"""
_TAKE_TURN = """
UPDATE runs_thread SET last_position = %s, status = %s, graph_id = %s, updated_at = %s,
    metadata = COALESCE(%s, metadata)
WHERE thread_id = %s
"""
_INSERT_RUN = """
INSERT INTO runs_run (run_id, thread_id, organization_id, owner_id, assistant_id, graph_id, status, kwargs, metadata,
    multitask_strategy, position, after_seq, not_before, follow_up_to_run_id, webhook, attempt, crashes, host,
    cancel_action, created_at, updated_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 0, 0, '', '', %s, %s)
"""


def add_thread(
    thread_id: str,
    *,
    organization_id: uuid.UUID,
    owner_id: uuid.UUID,
    metadata: dict[str, Any],
    graph_id: str = "",
    fresh: bool = False,
) -> Thread:
    """A new thread, in the caller's transaction; `fresh`: the id was made for it.

    Raises IntegrityError when the id is taken, BeingDeleted while what had it is cleared away.
    """
    thread = Thread(
        thread_id=thread_id,
        organization_id=organization_id,
        owner_id=owner_id,
        metadata=metadata,
        graph_id=graph_id,
    )
    return new_thread(thread, fresh=fresh)


def new_thread(thread: Thread, *, fresh: bool) -> Thread:
    """As `add_thread`; of `thread` is kept what most new threads have."""
    if not fresh and Purge.objects.filter(pk=thread.pk).exists():
        raise BeingDeleted
    _insert_thread(thread)
    return thread


def _insert_thread(thread: Thread) -> None:
    thread.created_at = thread.updated_at = thread.state_updated_at = timezone.now()
    now = adapted_time(thread.created_at)
    with connection.cursor() as cursor:
        cursor.execute(
            _INSERT_THREAD,
            [
                thread.thread_id,
                *_adapted(thread, "organization_id", "owner_id"),
                thread.shared,
                thread.temporary,
                thread.status,
                thread.graph_id,
                orjson.dumps(thread.metadata).decode(),
                thread.last_position,
                *(now, now, now),
            ],
        )


def _adapted(row: models.Model, *names: str) -> list[Any]:
    """The values of these fields as the database driver takes them."""
    fields: list[Any] = [row._meta.get_field(name) for name in names]
    return [field.get_db_prep_value(getattr(row, field.attname), connection) for field in fields]


def add_run(place: Place, new: NewRun) -> Run:
    """Create a pending run, in the transaction that holds `place`.

    Raises ThreadBusy when the strategy is `reject` and a run is active; nothing is to be committed then.
    """
    if place.busy and new.strategy is MultitaskStrategy.REJECT:
        raise ThreadBusy
    if place.busy and new.strategy in _ENDS:
        for run in Run.objects.filter(thread_id=place.thread_id).active().order_by("position"):
            cancel_in_transaction(run, _ENDS[new.strategy])
    run = _run(place, new)
    about = _about(new)
    told = about.items() <= place.metadata.items()
    with connection.cursor() as cursor:
        cursor.execute(
            _TAKE_TURN,
            [
                run.position,
                ThreadStatus.BUSY,
                run.graph_id,
                adapted_time(run.created_at),
                None if told else orjson.dumps({**place.metadata, **about}).decode(),
                run.thread_id,
            ],
        )
    _insert_run(run)
    tell(runs_pending)
    return run


def add_thread_with_run(thread_id: str, new: NewRun, *, temporary: bool) -> Run:
    """A run on a thread of its own, whose id was made for it, in the caller's transaction."""
    run = _run(Place(thread_id=thread_id), new)
    _insert_thread(
        Thread(
            thread_id=thread_id,
            organization_id=new.organization_id,
            owner_id=new.owner_id,
            metadata=_about(new),
            graph_id=new.graph_id,
            temporary=temporary,
            status=ThreadStatus.BUSY,
            last_position=run.position,
        )
    )
    _insert_run(run)
    tell(runs_pending)
    return run


def _last_seq(place: Place, strategy: MultitaskStrategy) -> int:
    if place.busy and strategy in _ENDS:
        # Ending pending runs appended events.
        return Thread.objects.values_list("last_seq", flat=True).get(pk=place.thread_id)
    return place.last_seq


def _about(new: NewRun) -> dict[str, str]:
    """What a thread's metadata says of its last run."""
    return {"graph_id": new.graph_id, "assistant_id": str(new.assistant_id)}


def _run(place: Place, new: NewRun) -> Run:
    now = timezone.now()
    return Run(
        run_id=new.run_id,
        thread_id=place.thread_id,
        organization_id=new.organization_id,
        owner_id=new.owner_id,
        assistant_id=new.assistant_id,
        graph_id=new.graph_id,
        status=RunStatus.PENDING,
        kwargs=new.kwargs,
        metadata=new.metadata,
        multitask_strategy=new.strategy,
        position=place.last_position + 1,
        after_seq=_last_seq(place, new.strategy),
        not_before=new.not_before,
        follow_up_to_run_id=new.follow_up_to_run_id,
        webhook=new.webhook,
        created_at=now,
        updated_at=now,
    )


def _insert_run(run: Run) -> None:
    now = adapted_time(run.created_at)
    follow_up_to, run_id, *others = _adapted(
        run, "follow_up_to_run_id", "run_id", "organization_id", "owner_id", "assistant_id"
    )
    with connection.cursor() as cursor:
        cursor.execute(
            _INSERT_RUN,
            [
                run_id,
                run.thread_id,
                *others,
                run.graph_id,
                run.status,
                orjson.dumps(run.kwargs).decode(),
                orjson.dumps(run.metadata).decode(),
                run.multitask_strategy,
                run.position,
                run.after_seq,
                run.not_before and adapted_time(run.not_before),
                follow_up_to,
                run.webhook,
                *(now, now),
            ],
        )


def reserve_position(place: Place) -> int:
    """Take a turn for a change of state that is not a run; runs created later come after it and fence it off.

    In the transaction that holds `place`. Raises ThreadBusy when a run is active.
    """
    if place.busy:
        raise ThreadBusy
    Thread.objects.filter(pk=place.thread_id).update(last_position=place.last_position + 1)
    return place.last_position + 1


def state_changed(thread_id: str, position: int, *, values: Any, interrupts: Any, waits_for_input: bool) -> None:
    """Keep the thread's row in step with a change of state made at `position`, unless a run has come since."""
    now = timezone.now()
    status = ThreadStatus.INTERRUPTED if waits_for_input else ThreadStatus.IDLE
    Thread.objects.filter(pk=thread_id, last_position=position).update(
        values=values,
        **_titled(values),
        interrupts=interrupts,
        error=None,
        status=status,
        settled_status=status,
        state_updated_at=now,
        updated_at=now,
    )


def values_found(thread_id: str, position: int, values: Any) -> None:
    """Note the values of the last checkpoint of the run at `position`, unless another has come since."""
    Thread.objects.filter(pk=thread_id, last_position=position).update(
        values=values, **_titled(values), state_updated_at=timezone.now()
    )


def _titled(values: Any) -> dict[str, str]:
    """The title that a graph's values give the thread, as the column that changes with it."""
    title = title_of(values)
    return {"title": title} if title else {}
