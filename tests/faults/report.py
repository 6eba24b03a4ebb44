"""What a trial came to, for people."""

from collections import Counter
from collections.abc import Iterable
from statistics import median

from tests.faults.check_service import recoveries
from tests.faults.rig import Outcome

_MOST_SHOWN = 20


def report(outcome: Outcome) -> str:
    trial, evidence = outcome.trial, outcome.evidence
    runs = evidence.dump.runs.values()
    ops: dict[str, Counter[str]] = {}
    for op in evidence.ops:
        ops.setdefault(op.kind, Counter())[op.result] += 1
    seconds = sorted(found for _, found in recoveries(evidence))
    events = sum(chunk.last_seq - chunk.first_seq + 1 for chunk in evidence.dump.chunks)
    lines = [
        f"{trial.shape}, seed {trial.seed}: {outcome.seconds:.0f} s",
        "operations   " + "; ".join(f"{kind} {_counts(results)}" for kind, results in sorted(ops.items())),
        "faults       " + _counts(Counter(fault.kind for fault in evidence.faults)),
        "runs         " + _counts(Counter(run.status for run in runs)),
        "attempts     " + _counts(Counter(run.attempt for run in runs)),
        f"events       {events} in the log, {sum(map(len, evidence.rereads.values()))} frames read again, "
        f"{sum(len(reading.frames) for reading in evidence.readings)} by {len(evidence.readings)} readings "
        f"over {sum(reading.connections for reading in evidence.readings)} connections",
        f"checkpoints  {len(evidence.dump.checkpoints)}; steps begun {len(evidence.ledger)}",
        f"rolled back  {sum(run.rolled_back for run in runs)}; {len({run.key for run in runs if run.key})} keys",
        "webhooks     " + _counts(Counter(news.answer for news in evidence.news)),
        f"recovery     {_spread(seconds)}",
    ]
    if evidence.watches:
        lines.append(
            f"watchers     {len(evidence.watches)}, {sum(len(watch.frames) for watch in evidence.watches)} events "
            f"over {sum(watch.connections for watch in evidence.watches)} connections"
        )
    if evidence.connections:
        lines.append(f"connections  at most {evidence.connections} to PostgreSQL")
    lines.append("violations   " + _counts(Counter(violation.check for violation in outcome.violations)))
    lines += [f"  {violation}" for violation in outcome.violations[:_MOST_SHOWN]]
    if outcome.violations:
        lines.append(f"  everything is kept in {outcome.folder}")
    return "\n".join(lines)


def _counts(counter: Counter[str] | Counter[int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counter.items())) or "none"


def _spread(seconds: Iterable[float]) -> str:
    found = list(seconds)
    if not found:
        return "no run lost its process"
    return f"p50 {median(found):.1f} s, max {max(found):.1f} s, of {len(found)} runs that lost their process"
