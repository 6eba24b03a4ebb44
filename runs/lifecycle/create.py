"""A new run on a thread: its turn, and what it does to the active ones."""

from typing import Any

from django.db import transaction
from django.utils import timezone

from runs.lifecycle.append import announce_pending
from runs.lifecycle.cancel import cancel_in_transaction
from runs.models import Run, Thread
from runs.states import CancelAction, MultitaskStrategy, ThreadStatus


class ThreadBusy(Exception):
    """Thread is already running a task. Wait for it to finish or choose a different multitask strategy."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


def add_run(thread: Thread, *, strategy: MultitaskStrategy, graph_id: str, **fields: Any) -> Run:
    """Create a pending run. The caller holds the transaction and has locked `thread`, whose row it read after that.

    Raises ThreadBusy when `strategy` is `reject` and a run is active; nothing is to be committed then.
    """
    active = list(Run.objects.filter(thread=thread).active().order_by("position"))
    if active and strategy is MultitaskStrategy.REJECT:
        raise ThreadBusy
    if strategy is MultitaskStrategy.INTERRUPT:
        for run in active:
            cancel_in_transaction(run, CancelAction.INTERRUPT)
    now = timezone.now()
    position = thread.last_position + 1
    about = {"graph_id": graph_id, "assistant_id": str(fields["assistant"].assistant_id)}
    changes: dict[str, Any] = {
        "last_position": position,
        "status": ThreadStatus.BUSY,
        "graph_id": graph_id,
        "updated_at": now,
    }
    if not about.items() <= thread.metadata.items():
        changes["metadata"] = {**thread.metadata, **about}
    Thread.objects.filter(pk=thread.pk).update(**changes)
    run = Run.objects.create(
        thread=thread,
        organization_id=thread.organization_id,
        multitask_strategy=strategy,
        graph_id=graph_id,
        position=position,
        after_seq=thread.last_seq,
        updated_at=now,
        **fields,
    )
    transaction.on_commit(announce_pending)
    return run


def reserve_position(thread: Thread) -> int:
    """Take a turn for a change of state that is not a run; runs created later come after it and fence it off.

    As for `add_run`, the thread is locked. Raises ThreadBusy when a run is active.
    """
    if Run.objects.filter(thread=thread).active().exists():
        raise ThreadBusy
    position = thread.last_position + 1
    Thread.objects.filter(pk=thread.pk).update(last_position=position)
    return position


def state_changed(thread_id: str, position: int, *, values: Any, interrupts: Any, waits_for_input: bool) -> None:
    """Keep the thread's row in step with a change of state made at `position`, unless a run has come since."""
    now = timezone.now()
    Thread.objects.filter(pk=thread_id, last_position=position).update(
        values=values,
        interrupts=interrupts,
        error=None,
        status=ThreadStatus.INTERRUPTED if waits_for_input else ThreadStatus.IDLE,
        state_updated_at=now,
        updated_at=now,
    )
