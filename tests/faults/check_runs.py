"""Invariants of runs and threads, and of what graphs did: each yields what violates it."""

from typing import Any

from tests.faults.evidence import TERMINAL, Event, Evidence, Found, RunRow
from tests.faults.stories import asks, expected_status, expected_steps, held_steps


def accepted_runs_exist(evidence: Evidence) -> Found:
    for op in evidence.ops:
        accepted = [*op.made, op.run_id] if 200 <= op.status < 300 and op.thread_id not in evidence.deleted else []
        for run_id in accepted:
            if run_id and run_id not in evidence.dump.runs:
                yield f"run {run_id} was accepted ({op.kind}, operation {op.number}) and is not there"


def runs_end(evidence: Evidence) -> Found:
    for run in evidence.dump.runs.values():
        if run.status not in TERMINAL:
            yield f"run {run.run_id} is {run.status} in attempt {run.attempt} when all is over"


def runs_end_as_planned(evidence: Evidence) -> Found:
    """A run that nobody cancelled ends as its plan says; faults make neither errors nor time-outs of it."""
    for runs in evidence.runs_by_thread().values():
        for run in runs:
            expected = expected_status(run)
            if run.status in TERMINAL and run.status != expected:
                yield f"run {run.run_id} ended {run.status}, not {expected}; error {run.error}"


def terminal_status_is_final(evidence: Evidence) -> Found:
    last: dict[str, str] = {}
    for sample in sorted(evidence.samples, key=lambda sample: sample.time):
        for run_id, status in sample.runs.items():
            before = last.get(run_id, "")
            if before in TERMINAL and status != before:
                yield f"run {run_id} was {before} and later {status}"
            last[run_id] = status
    for run in evidence.dump.runs.values():
        before = last.get(run.run_id, "")
        if before in TERMINAL and run.status != before:
            yield f"run {run.run_id} was {before} and is {run.status} at the end"


def one_run_at_a_time(evidence: Evidence) -> Found:
    for sample in evidence.samples:
        running = sorted(run_id for run_id, status in sample.runs.items() if status == "running")
        if len(running) > 1:
            yield f"thread {sample.thread_id} had the running runs {running} at {sample.time:.3f}"


def accepted_cancels_count(evidence: Evidence) -> Found:
    """A 2xx means that the run is, or will be, interrupted or rolled back, as who came first has asked."""
    for op in evidence.ops:
        run = evidence.dump.runs.get(op.run_id)
        if op.kind == "cancel" and op.result == "ok" and run and not (run.status == "interrupted" or run.rolled_back):
            yield f"run {op.run_id} is {run.status}; its cancel, operation {op.number}, was answered {op.status}"


def threads_agree_with_their_runs(evidence: Evidence) -> Found:
    events = evidence.events_by_thread()
    runs = evidence.runs_by_thread()
    for thread in evidence.dump.threads.values():
        expected = _thread_status(runs.get(thread.thread_id, []), events.get(thread.thread_id, []))
        if thread.status != expected:
            yield f"thread {thread.thread_id} is {thread.status}, not {expected}"


def _thread_status(runs: list[RunRow], events: list[Event]) -> str:
    """`busy` while a run is active, else what the run left behind that ended last and was not rolled back."""
    if any(run.status not in TERMINAL for run in runs):
        return "busy"
    by_id = {run.run_id: run for run in runs}
    ended = [by_id[event.run_id] for event in events if event.method == "end" and event.run_id in by_id]
    left = [run for run in ended if not run.rolled_back]
    if not left:
        return "idle"
    run = left[-1]
    if run.status == "success":
        return "interrupted" if asks(run) else "idle"
    return "interrupted" if run.status == "interrupted" else "error"


# What graphs did.


def finished_steps_are_not_repeated(evidence: Evidence) -> Found:
    """No attempt begins a step that a checkpoint of an earlier attempt holds."""
    lines = evidence.lines_by_run()
    held = held_steps(evidence)
    for run_id, attempts in _first_steps(lines).items():
        for attempt, first in attempts.items():
            done = max((steps for number, steps in held.get(run_id, {}).items() if number < attempt), default=0)
            if first < done:
                yield f"run {run_id} began step {first} in attempt {attempt}; checkpoints held {done} steps"


def _first_steps(lines: dict[str, list[dict[str, Any]]]) -> dict[str, dict[int, int]]:
    found: dict[str, dict[int, int]] = {}
    for run_id, own in lines.items():
        for line in own:
            steps = found.setdefault(run_id, {})
            steps[line["attempt"]] = min(line["step"], steps.get(line["attempt"], line["step"]))
    return found


def attempts_do_not_overlap(evidence: Evidence) -> Found:
    """An attempt that was replaced begins nothing more; the one step that it was about to begin may slip through."""
    for run_id, lines in evidence.lines_by_run().items():
        latest, late = 0, []
        for line in lines:
            latest = max(latest, line["attempt"])
            if line["attempt"] < latest:
                late.append((line["attempt"], line["step"]))
        for attempt in {attempt for attempt, _ in late}:
            steps = [step for number, step in late if number == attempt]
            if len(steps) > 1:
                yield f"run {run_id}: attempt {attempt} began steps {steps} when a later attempt had begun"


def successful_runs_did_every_step(evidence: Evidence) -> Found:
    lines = evidence.lines_by_run()
    for runs in evidence.runs_by_thread().values():
        for i, run in enumerate(runs):
            expected = expected_steps(run, runs[:i])
            if run.status == "success" and expected is not None:
                done = sorted({line["step"] for line in lines.get(run.run_id, [])})
                if done != list(expected):
                    yield f"run {run.run_id} did the steps {done}, not {list(expected)}"


def checkpoints_are_one_line(evidence: Evidence) -> Found:
    """No checkpoint has two successors, and attempts only grow: no stale attempt wrote one."""
    by_id = {(row.thread_id, row.checkpoint_id): row for row in evidence.dump.checkpoints}
    successor: dict[tuple[str, str | None], str] = {}
    for row in evidence.dump.checkpoints:
        place = row.thread_id, row.parent_id
        if place in successor:
            yield f"thread {row.thread_id}: {row.parent_id} has the successors {successor[place]}, {row.checkpoint_id}"
        successor[place] = row.checkpoint_id
        parent = by_id.get((row.thread_id, row.parent_id or ""))
        if parent and parent.run_id == row.run_id and parent.attempt > row.attempt:
            yield f"run {row.run_id}: attempt {row.attempt} wrote {row.checkpoint_id} after attempt {parent.attempt}"
