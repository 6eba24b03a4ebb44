"""What the stress graph would do with a plan if nothing went wrong: what runs are measured by."""

from collections.abc import Sequence
from typing import Any

from tests.faults.evidence import Evidence, RunRow

#: Checkpoints that a run with an input writes before its first step is done: one each for the start and for `begin`.
_BEFORE_STEPS = 2


def expected_status(run: RunRow) -> str:
    """How a run ends, whatever happens to its processes."""
    if run.cancel_action:
        return "error" if run.cancel_action == "rollback" else "interrupted"
    plan = run.plan or {}
    fails = "fail_at" in plan and plan["fail_at"] < plan.get("steps", 1)
    return "error" if fails else "success"


def expected_steps(run: RunRow, earlier: Sequence[RunRow]) -> range | None:
    """The steps that a successful run notes; `earlier` are the runs before it on its thread. None: no telling."""
    if run.plan is not None:
        steps = run.plan.get("steps", 1)
        return range(min(steps, run.plan.get("interrupt_at", steps)))
    plan = plan_of(run, earlier)
    return None if plan is None else range(plan["interrupt_at"], plan.get("steps", 1))


def plan_of(run: RunRow, earlier: Sequence[RunRow]) -> dict[str, Any] | None:
    """The plan that a run follows: its own, or that of the question which it answers. None: no telling."""
    if run.plan is not None:
        return run.plan
    asked = [before for before in earlier if asks(before) and not before.rolled_back]
    return asked[-1].plan if asked else None


def asks(run: RunRow) -> bool:
    """Whether a run that ends well stops at an interrupt."""
    return run.plan is not None and "interrupt_at" in run.plan


def held_steps(evidence: Evidence) -> dict[str, dict[int, int]]:
    """For each run and attempt, how many steps the checkpoints hold that it and earlier ones have written."""
    first = _first_steps(evidence)
    counts: dict[str, dict[int, int]] = {}
    for row in evidence.dump.checkpoints:
        if row.source == "loop":
            own = counts.setdefault(row.run_id, {})
            own[row.attempt] = own.get(row.attempt, 0) + 1
    held: dict[str, dict[int, int]] = {}
    for run_id, attempts in counts.items():
        total = first.get(run_id, 0)
        for attempt in sorted(attempts):
            total += attempts[attempt]
            held.setdefault(run_id, {})[attempt] = max(0, total)
    return held


def _first_steps(evidence: Evidence) -> dict[str, int]:
    """Where the count of each run's steps begins, before the first of its checkpoints."""
    found = {}
    for runs in evidence.runs_by_thread().values():
        for i, run in enumerate(runs):
            steps = expected_steps(run, runs[:i])
            if run.plan is not None:
                found[run.run_id] = -_BEFORE_STEPS
            elif steps is not None:
                found[run.run_id] = steps.start
    return found
