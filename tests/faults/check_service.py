"""Invariants of answers, recovery and processes: each yields what violates it."""

from typing import Any

from tests.faults.evidence import Evidence, Found, RunRow
from tests.faults.history import Fault, Op


def failures_are_honest(evidence: Evidence) -> Found:
    """No 5xx but 503 with Retry-After, and that only while something is broken or was a moment ago."""
    for op in evidence.ops:
        if op.status < 500:
            continue
        if op.status != 503 or not op.retry_after:
            yield f"operation {op.number}, {op.kind}, was answered {op.status}: {op.note[:200]}"
        elif not any(_covers(fault, op, evidence.aftermath) for fault in evidence.faults):
            yield f"operation {op.number}, {op.kind}, was answered 503 and nothing was broken: {op.note[:200]}"


def _covers(fault: Fault, op: Op, aftermath: float) -> bool:
    return fault.begin <= op.end and op.begin <= (fault.end or op.end) + aftermath


def operations_end(evidence: Evidence) -> Found:
    if evidence.stuck_clients:
        waiting = [f"{op.kind} of {op.client}, run {op.run_id}" for op in evidence.ops if op.result == "invoked"]
        yield f"{evidence.stuck_clients} clients wait for what does not come: {waiting}"
    if evidence.restless:
        yield f"the system did not come to rest: {evidence.restless}"


# Processes.


def lost_runs_recover_in_time(evidence: Evidence) -> Found:
    for run_id, seconds in recoveries(evidence):
        if seconds > evidence.recovery_bound:
            yield f"run {run_id} showed life {seconds:.1f} s after its process was killed"


def recoveries(evidence: Evidence) -> list[tuple[str, float]]:
    """For each run whose process was killed: the seconds until its next step or its end.

    A fault that comes in between begins the count anew.
    """
    lines = evidence.lines_by_run()
    found = []
    for fault in evidence.faults:
        for run_id, own in lines.items():
            run = evidence.dump.runs.get(run_id)
            if run and fault.pids and _died_of(fault, run, own):
                alive = min([line["time"] for line in own if line["time"] > fault.begin] + [run.ended_at or 1e18])
                since = max(
                    [fault.begin] + [other.end for other in evidence.faults if fault.begin < other.begin < alive]
                )
                found.append((run_id, max(0.0, alive - since)))
    return found


def _died_of(fault: Fault, run: RunRow, lines: list[dict[str, Any]]) -> bool:
    before = [line for line in lines if line["time"] <= fault.begin]
    ended = 0 < run.ended_at <= fault.begin
    return bool(before) and before[-1]["pid"] in fault.pids and not ended


def nothing_is_left_running(evidence: Evidence) -> Found:
    yield from evidence.leftovers


def processes_end_as_asked(evidence: Evidence) -> Found:
    yield from evidence.bad_exits


def connections_are_bounded(evidence: Evidence) -> Found:
    if evidence.max_connections and evidence.connections > evidence.max_connections:
        yield f"{evidence.connections} connections to PostgreSQL, more than {evidence.max_connections}"
