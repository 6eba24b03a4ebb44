"""Events that tests let runs append to the logs of their threads."""

from typing import Any

from runs import lifecycle
from runs.database import in_database
from runs.lifecycle import Outcome, Write
from runs.models import Run
from runs.records import Chunk, Record, record
from runs.states import RunStatus

SUCCESS = Outcome(RunStatus.SUCCESS)


def append(run: Run, *records: Record, outcome: Outcome | None = None) -> Chunk | None:
    """As the attempt that holds the run's claim; None when it does not hold it any more."""
    (chunk,) = lifecycle.write([Write(run.pk, run.claim, run.thread_id, list(records), outcome)])
    return chunk


async def emit(run: Run, *values: Any, outcome: Outcome | None = None, method: str = "values") -> None:
    """Append an event for each of the values."""
    await in_database(lambda: append(run, *[record(method, value) for value in values], outcome=outcome))


async def end(run: Run) -> None:
    """Have the run succeed."""
    await emit(run, outcome=SUCCESS)
