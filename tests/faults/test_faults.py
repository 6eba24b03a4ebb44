"""A short part of what `make faults` does, on real systems."""

import shutil

import pytest

from tests.faults.report import report
from tests.faults.rig import SHAPES, Outcome, Trial, run
from tests.faults.scenarios import Frozen, InTurn, Rolling

#: Generous: machines differ, and this is not about their speed.
_RECOVERY_SECONDS = 120.0
#: Without a sender that is killed while it waits: the next one comes a minute later.
_QUICK_ANSWERS = ("accept", "refuse", "reset")


def judge(outcome: Outcome) -> None:
    """Fail with the report when there is a violation; otherwise leave nothing."""
    assert not outcome.violations, report(outcome)
    shutil.rmtree(outcome.folder)


@pytest.mark.parametrize("shape", SHAPES)
async def test_nothing_is_lost_under_random_faults(shape: str) -> None:
    trial = Trial(
        shape=shape,
        seed=20261120,
        seconds=8,
        pauses=(0.5, 2.0),
        recovery_bound=_RECOVERY_SECONDS,
        answers=_QUICK_ANSWERS,
    )
    outcome = await run(trial)
    judge(outcome)
    assert outcome.evidence.faults and outcome.evidence.dump.runs and outcome.evidence.news


async def test_a_worker_that_slept_writes_nothing_more_and_a_rolling_restart_breaks_no_stream() -> None:
    """Beyond its leases it slept. One cluster has to go through both: to start one takes longest."""
    works = InTurn([Frozen(runs=4), Rolling(clients=8, watchers=8, steps=16, delay=0.5)])
    outcome = await run(Trial(shape="cluster", recovery_bound=_RECOVERY_SECONDS), works)
    judge(outcome)
    assert any(watch.connections > 1 for watch in outcome.evidence.watches)
    assert any(run.attempt > 1 for run in outcome.evidence.dump.runs.values() if run.thread_id.startswith("frozen"))
