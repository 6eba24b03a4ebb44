"""`python -m tests.faults`: break the shipped system while clients use it, and check that nothing was lost.

Exits with 1 when an invariant was violated; what happened is kept then, and the report says where.

`shapes` are the systems, started by their public commands. `crew`, `load`, `plans` and `clients` use them, `hook` is
told of the ends of runs, `nemesis` breaks them, and `history` keeps what all did; `scenarios` do something special
instead. `rig` is the order of it all. When the system has come to rest, `dump` reads what it left, and `checks` compare
it with the history: pure functions of `evidence`.
"""

import asyncio
import shutil
import signal
import sys
from argparse import ArgumentParser, Namespace

from tests.faults.report import report
from tests.faults.rig import FAULTS, SHAPES, Outcome, Trial, Work, run
from tests.faults.scenarios import CLUSTER_ONLY, SCENARIOS


def main() -> int:
    options = _options()
    shapes = [options.shape] if options.shape else SHAPES
    scenarios = SCENARIOS if options.scenario == "all" else [options.scenario]
    bad = [
        _is_bad(shape, scenario, options)
        for scenario in scenarios
        for shape in shapes
        if shape == "cluster" or scenario not in CLUSTER_ONLY
    ]
    return 1 if any(bad) else 0


def _is_bad(shape: str, scenario: str, options: Namespace) -> bool:
    """Try it and report; whether there was a violation."""
    trial = Trial(
        shape=shape,
        seed=options.seed,
        seconds=options.seconds,
        runs=options.runs,
        clients=options.clients,
        contest=options.contest,
        faults=tuple(options.faults.split(",")),
        pauses=(options.pause / 4, options.pause),
    )
    outcome = asyncio.run(_until_told(trial, SCENARIOS[scenario]))
    print(f"{scenario} on {report(outcome)}\n", flush=True)
    if not outcome.violations and not options.keep:
        shutil.rmtree(outcome.folder)
    return bool(outcome.violations)


async def _until_told(trial: Trial, work: Work | None) -> Outcome:
    """A trial that takes all that it has started along when it is told to end."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run(trial, work)


def _options() -> Namespace:
    parser = ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, help="default: both, one after the other")
    parser.add_argument("--scenario", choices=["all", *SCENARIOS], default="storm")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60, help="for how long operations begin")
    parser.add_argument("--runs", type=int, help="end after so many runs instead")
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--contest", action="store_true", help="clients only end, undo and repeat what was begun")
    parser.add_argument("--faults", default=",".join(FAULTS), help="groups: %(default)s")
    parser.add_argument("--pause", type=float, default=4, help="seconds between two faults, at most")
    parser.add_argument("--keep", action="store_true", help="keep logs and data when all is well, too")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
