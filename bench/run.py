"""`make bench`: start the server, measure it and raw LangGraph, stop it, print a table.

    .venv/bin/python bench/run.py [--only wait_seq,tokens] [--repeat 3] [--json FILE] [--url http://…]

With --url a server that is running already is measured. Ends with 1 if a case failed; a figure that is not reached is
no failure.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import report
from bench.driver import IDLE, Samples, add_arguments, as_line, choose, drive, read_headers, read_names
from bench.process import raise_file_limit
from bench.server import ROOT, Failed, serving


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    names = read_names(options.only)
    raise_file_limit()
    signal.signal(signal.SIGTERM, _leave)
    machine = report.machine()
    print("\n".join(f"{key}: {value}" for key, value in machine.items()), flush=True)
    samples = Samples()
    try:
        for _ in range(options.repeat):
            _measure(options, names, samples)
            if options.url:
                # True once for each start of a server: the next streams take the memory that these have left free.
                names = [name for name in names if name != IDLE]
    except Failed as exc:
        print(exc, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    results = samples.medians()
    raw = {key: float(value) for key, value in results.pop("baseline", {}).items()}
    print(f"load after it: {report.load()}\n{report.raw_summary(raw)}\n\n{report.table(results, raw, options.shape)}")
    if options.json:
        found: dict[str, Mapping[str, object]] = {"machine": machine, "baseline": raw, **results}
        options.json.write_text("".join(f"{as_line(options.name, case, part)}\n" for case, part in found.items()))
    return int(samples.failed)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the server; bench/README.md says how to read it.")
    parser.add_argument("--url", help="a running server that serves bench/graphs/langgraph.json; else one is started")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too, as JSON lines")
    parser.add_argument(
        "--shape",
        choices=["sqlite", "postgres"],
        default="sqlite",
        help="one server with SQLite; or server, worker, PostgreSQL and Redis",
    )
    parser.add_argument("--no-baseline", action="store_true", help="leave raw LangGraph out")
    add_arguments(parser)
    return parser.parse_args(arguments)


def _measure(options: argparse.Namespace, names: Sequence[str], samples: Samples) -> None:
    """One pass, each part with the machine for itself."""
    if not options.no_baseline:
        samples.add("baseline", _baseline())
    if options.url:
        cases = choose(names, streams=options.streams, pid=options.pid)
        asyncio.run(drive(options.url, read_headers(options.header), cases, samples.add))
        return
    # Idle streams are held by a server of their own: memory that other cases have left free would hide what they take.
    for part in ([name for name in names if name != IDLE], [name for name in names if name == IDLE]):
        if part:
            _serve_and_drive(options, part, samples)


def _serve_and_drive(options: argparse.Namespace, names: Sequence[str], samples: Samples) -> None:
    with serving(options.shape) as server:
        cases = choose(names, streams=options.streams, pid=server.pid)
        headers = {**read_headers(options.header), "X-Api-Key": server.key}
        asyncio.run(drive(server.url, headers, cases, samples.add))
        if samples.failed:
            print(server.said(), file=sys.stderr)


def _baseline() -> dict[str, float]:
    """`bench.baseline` in a process of its own. Raises Failed."""
    environment = {**os.environ, "LANGSMITH_TRACING": "false"}
    command = [sys.executable, "-m", "bench.baseline"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"Raw LangGraph could not be measured.\n{done.stderr[-2000:]}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def _leave(number: int, frame: object) -> NoReturn:
    """End as after an interrupt from the keyboard, so that the server is stopped."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
