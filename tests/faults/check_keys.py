"""Invariants of requests that are sent more than once, and of those for several runs: each yields what violates it."""

from collections import Counter

from tests.faults.check_turns import named_runs
from tests.faults.evidence import Evidence, Found


def keys_make_their_runs_once(evidence: Evidence) -> Found:
    """However often a request comes with one key: one run, or one for each of its parts."""
    parts = Counter((run.key, run.part) for run in evidence.dump.runs.values() if run.key)
    for (key, part), count in parts.items():
        if count > 1:
            yield f"the key {key} made {count} runs of part {part}"


def answers_to_a_key_agree(evidence: Evidence) -> Found:
    named: dict[str, list[str]] = {}
    for op in evidence.ops:
        # Of an answer that was cut it is not known what it named.
        runs = named_runs(op) if op.key and op.result == "ok" else []
        if runs and named.setdefault(op.key, runs) != runs:
            yield f"the key {op.key} was answered with {named[op.key]} and, operation {op.number}, with {runs}"


def keys_stand_for_one_request(evidence: Evidence) -> Found:
    """Another request with a key that was used is refused."""
    for op in evidence.ops:
        if op.kind == "create_other" and op.result == "ok" and _is_used(evidence, op.key, op.begin):
            yield f"operation {op.number} came with the used key {op.key} and was answered {op.status}"


def _is_used(evidence: Evidence, key: str, time: float) -> bool:
    return any(op.key == key and op.end < time and named_runs(op) for op in evidence.ops)


def batches_are_whole(evidence: Evidence) -> Found:
    """All runs of a request are there, or none. Nobody deletes their threads."""
    made: dict[str, set[int]] = {}
    wanted: dict[str, int] = {}
    for run in evidence.dump.runs.values():
        if run.key:
            made.setdefault(run.key, set()).add(run.part)
            wanted[run.key] = run.parts
    for key, parts in made.items():
        if parts != set(range(wanted[key])):
            yield f"of the {wanted[key]} runs of {key} there are the parts {sorted(parts)}"
