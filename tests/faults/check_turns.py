"""Invariants of the runs of one thread, and of what they do to each other: each yields what violates it."""

from itertools import pairwise

from tests.faults.evidence import Evidence, Found
from tests.faults.history import Op

#: The operations that create a run.
_CREATE = frozenset({"create", "stream", "wait", "batch"})
_NEVER = float("inf")


def active_runs_do_not_overlap(evidence: Evidence) -> Found:
    """By the clock, no run of a thread began before the end of another that had begun."""
    for runs in evidence.runs_by_thread().values():
        spans = sorted((run.started_at, run.ended_at or _NEVER, run.run_id) for run in runs if run.started_at)
        for (_, end, one), (begin, _, other) in pairwise(spans):
            if begin < end:
                yield f"run {other} began at {begin:.3f}; run {one} ended at {end:.3f}"


def graphs_take_turns(evidence: Evidence) -> Found:
    """No run begins steps when a later one of its thread has begun; the one it was about to begin may slip through."""
    lines = evidence.lines_by_run()
    for runs in evidence.runs_by_thread().values():
        for i, run in enumerate(runs):
            later = [line["time"] for after in runs[i + 1 :] for line in lines.get(after.run_id, [])]
            late = [line for line in lines.get(run.run_id, []) if later and line["time"] > min(later)]
            for attempt in {line["attempt"] for line in late}:
                steps = [line["step"] for line in late if line["attempt"] == attempt]
                if len(steps) > 1:
                    yield f"run {run.run_id} began the steps {steps} when a later run of its thread had begun"


def ended_runs_begin_nothing(evidence: Evidence) -> Found:
    """No run begins steps after its end; the one it was about to begin may slip through."""
    for run_id, lines in evidence.lines_by_run().items():
        run = evidence.dump.runs.get(run_id)
        late = [line for line in lines if run and run.ended_at and line["time"] > run.ended_at]
        for attempt in {line["attempt"] for line in late}:
            steps = [line["step"] for line in late if line["attempt"] == attempt]
            if len(steps) > 1:
                yield f"run {run_id} began the steps {steps} when it had ended"


def turns_follow_requests(evidence: Evidence) -> Found:
    """A run that was asked for when another one had been accepted comes after it."""
    asked, accepted = _request_times(evidence)
    for runs in evidence.runs_by_thread().values():
        for i, run in enumerate(runs):
            for after in runs[i + 1 :]:
                if accepted.get(after.run_id, _NEVER) < asked.get(run.run_id, -_NEVER):
                    yield f"run {run.run_id} was asked for when {after.run_id} was accepted, and comes before it"


def _request_times(evidence: Evidence) -> tuple[dict[str, float], dict[str, float]]:
    """For each run: when it was first asked for, and when that was first answered."""
    asked: dict[str, float] = {}
    accepted: dict[str, float] = {}
    by_key: dict[str, float] = {}
    for op in evidence.ops:
        if op.key:
            by_key[op.key] = min(op.begin, by_key.get(op.key, _NEVER))
    for op in evidence.ops:
        for run_id in named_runs(op):
            asked[run_id] = min(op.begin, by_key.get(op.key, _NEVER), asked.get(run_id, _NEVER))
            accepted[run_id] = min(op.end or _NEVER, accepted.get(run_id, _NEVER))
    return asked, accepted


def named_runs(op: Op) -> list[str]:
    """The runs that the answer to a request for runs names."""
    if op.kind not in _CREATE or not 200 <= op.status < 300:
        return []
    return [*op.made, *([op.run_id] if op.run_id else [])]


def strategies_are_kept(evidence: Evidence) -> Found:
    """A run that rejects found no active one; what others found and end was told to."""
    ends = _ends(evidence)
    for runs in evidence.runs_by_thread().values():
        for i, run in enumerate(runs):
            active = [before for before in runs[:i] if ends.get(before.run_id, _NEVER) > run.after_seq]
            if run.strategy == "reject" and active:
                yield f"run {run.run_id} was to be rejected: {[before.run_id for before in active]} were active"
            if run.strategy in ("interrupt", "rollback"):
                spared = [before.run_id for before in active if not before.cancel_action]
                if spared:
                    yield f"run {run.run_id} was to end {spared}, and did not"


def _ends(evidence: Evidence) -> dict[str, int]:
    """The number of each run's `end`."""
    found: dict[str, int] = {}
    for events in evidence.events_by_run().values():
        found.update({event.run_id: event.seq for event in events if event.method == "end"})
    return found


def cancels_were_asked_for(evidence: Evidence) -> Found:
    """Every cancellation was somebody's: of a request, or of a later run of the thread."""
    asked = {(op.run_id, op.action) for op in evidence.ops if op.kind == "cancel" and op.result != "fail"}
    for runs in evidence.runs_by_thread().values():
        for i, run in enumerate(runs):
            by_others = any(after.strategy == run.cancel_action for after in runs[i + 1 :])
            if run.cancel_action and not by_others and (run.run_id, run.cancel_action) not in asked:
                yield f"nobody asked for {run.cancel_action} of run {run.run_id}"
