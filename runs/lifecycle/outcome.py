"""How runs end, and the last events that tell of it."""

from dataclasses import dataclass
from typing import Any

from runs.protocol import run_ends
from runs.records import Record, record
from runs.states import RunStatus


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ends. `values` and `interrupts` are JSON; None leaves what the thread has."""

    status: RunStatus
    error: dict[str, str] | None = None
    values: bytes | None = None
    interrupts: bytes | None = None
    #: The graph stopped at an interrupt of its own.
    waits_for_input: bool = False
    #: What the graph calls the conversation; empty: nothing.
    title: str = ""
    #: All that the run did to its thread has been undone, or it did nothing.
    rolled_back: bool = False

    @property
    def cancelled(self) -> bool:
        return self.status is RunStatus.INTERRUPTED or self.rolled_back


CANCELLED = {"error": "cancelled", "message": run_ends.CANCELLED}

#: How much of what went wrong `end` tells; `error` tells all.
_MAX_REASON = 500

#: The outcome of a run that was cancelled by `rollback`, once its checkpoints are gone.
ROLLED_BACK = Outcome(
    RunStatus.ERROR, error={"error": "RolledBack", "message": "Rolled back by user"}, rolled_back=True
)


def closing_records(outcome: Outcome) -> list[Record]:
    """What comes right before `end`."""
    if outcome.cancelled:
        return [record("cancel")]
    return [record("error", outcome.error)] if outcome.error else []


def end_record(outcome: Outcome, graph_id: str, *, superseded: bool) -> Record:
    """How a run of this graph ended. `superseded`: another run of the thread is active."""
    data: dict[str, Any] = {"status": outcome.status, "graph_id": graph_id}
    if outcome.cancelled:
        data |= {"cancelled": True, "superseded": True} if superseded else {"cancelled": True}
    elif outcome.error:
        data["error"] = outcome.error["message"][:_MAX_REASON]
    elif outcome.waits_for_input:
        data["waits"] = True
    return record("end", data)
