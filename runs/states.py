"""The states of runs and threads, and how they move. Pure data: everything about transitions stands in this file.

Theory of operation
-------------------
A run is one execution on a thread::

    pending -> running -> success | error | interrupted | timeout
    pending -> interrupted | error
    running -> pending                  (its host died, or drained: the next attempt goes on from the checkpoint)

A terminal state is final: nothing moves a run out of it. A run that stops at an `interrupt()` of its graph is a
`success`; only its thread is `interrupted`. A run that was cancelled is `interrupted`; going on is a new run.

A thread has at most one running run; the others wait their turn, oldest first. The status of a thread follows from its
runs: `busy` while one is pending or running, otherwise what the last one left behind::

    idle -> busy -> idle | interrupted | error

`runs.lifecycle` is the only writer of both.
"""

from django.db.models import TextChoices


class RunStatus(TextChoices):
    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    ERROR = "error"
    INTERRUPTED = "interrupted"
    TIMEOUT = "timeout"


class ThreadStatus(TextChoices):
    IDLE = "idle"
    BUSY = "busy"
    INTERRUPTED = "interrupted"
    ERROR = "error"


class CancelAction(TextChoices):
    #: Stop, and keep the checkpoints made so far.
    INTERRUPT = "interrupt"
    #: Stop, and put the thread back to what it was before the run.
    ROLLBACK = "rollback"


class MultitaskStrategy(TextChoices):
    """What a new run does to the active ones of its thread."""

    REJECT = "reject"
    ENQUEUE = "enqueue"
    INTERRUPT = "interrupt"
    ROLLBACK = "rollback"


ACTIVE = (RunStatus.PENDING, RunStatus.RUNNING)
TERMINAL = frozenset({RunStatus.SUCCESS, RunStatus.ERROR, RunStatus.INTERRUPTED, RunStatus.TIMEOUT})

TRANSITIONS: dict[RunStatus, frozenset[RunStatus]] = {
    RunStatus.PENDING: frozenset({RunStatus.RUNNING, RunStatus.INTERRUPTED, RunStatus.ERROR}),
    RunStatus.RUNNING: TERMINAL | {RunStatus.PENDING},
    RunStatus.SUCCESS: frozenset(),
    RunStatus.ERROR: frozenset(),
    RunStatus.INTERRUPTED: frozenset(),
    RunStatus.TIMEOUT: frozenset(),
}


def sources(target: RunStatus) -> frozenset[RunStatus]:
    """The states from which a run may move to `target`."""
    return frozenset(state for state, targets in TRANSITIONS.items() if target in targets)


def thread_status_after(status: RunStatus, *, waits_for_input: bool) -> ThreadStatus:
    """What a run that ended in `status` leaves its thread in, when no other run of it is active.

    `waits_for_input`: the graph stopped at an interrupt of its own.
    """
    if status is RunStatus.SUCCESS:
        return ThreadStatus.INTERRUPTED if waits_for_input else ThreadStatus.IDLE
    if status is RunStatus.INTERRUPTED:
        return ThreadStatus.INTERRUPTED
    return ThreadStatus.ERROR
