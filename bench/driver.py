"""Runs the cases against a server that is running: any that speaks the protocol and serves `graphs/langgraph.json`.

    .venv/bin/python -m bench.driver --url http://127.0.0.1:8000 --header "X-Api-Key: …" [--only wait_seq,tokens]

prints one JSON line for each case: {"name", "case", <metric>: <value> …}, or {"name", "case", "error"}.
"""

import argparse
import asyncio
import functools
import json
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

import aiohttp

from bench.cases import CASES, Case, Metrics, warm_up
from bench.client import Api, Unexpected, open_session
from bench.idle import idle_streams

#: Seconds that one case may take.
CASE_SECONDS = 170
IDLE = idle_streams.__name__
NAMES = (*CASES, IDLE)

#: A case's metrics, or {"error": sentence}.
Result = Mapping[str, float | str]


def read_names(only: str) -> list[str]:
    """The cases that a comma-separated list names, in the order in which they run; an empty one names all."""
    wanted = [name.strip() for name in only.split(",")] if only else NAMES
    if unknown := set(wanted) - set(NAMES):
        raise SystemExit(f"--only: there is no case {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}.")
    return [name for name in NAMES if name in wanted]


def choose(names: Iterable[str], *, streams: int, pid: int | None = None) -> dict[str, Case]:
    """The named cases. `streams` is how many idle_streams opens, `pid` the server's process if it may be looked at."""
    every: dict[str, Case] = {**CASES, IDLE: functools.partial(idle_streams, pid=pid, streams=streams)}
    return {name: every[name] for name in names}


async def drive(
    url: str, headers: dict[str, str], cases: Mapping[str, Case], report: Callable[[str, Result], None]
) -> None:
    """Run the cases one after another, each reported as soon as it is done. Nothing is run if the warm-up fails."""
    async with open_session(headers) as session:
        api = Api(session, url)
        cold = await attempt(_warm_up, api)
        if "error" in cold:
            report("warm_up", cold)
            return
        for name, case in cases.items():
            report(name, await attempt(case, api))


async def _warm_up(api: Api) -> Metrics:
    await warm_up(api)
    return {}


async def attempt(case: Case, api: Api) -> Result:
    try:
        async with asyncio.timeout(CASE_SECONDS):
            return await case(api)
    except (Unexpected, aiohttp.ClientError, OSError, LookupError, ValueError) as exc:
        return {"error": f"{type(exc).__name__}: {exc}"[:300]}


class Samples:
    """The results of several passes, by case. Each is told to standard error as it comes."""

    def __init__(self) -> None:
        self._results: dict[str, list[Result]] = {}

    def add(self, case: str, result: Result) -> None:
        said = (f"{key} {value}" if isinstance(value, str) else f"{key} {value:.6g}" for key, value in result.items())
        print(f"{case}: {', '.join(said)}", file=sys.stderr, flush=True)
        self._results.setdefault(case, []).append(result)

    @property
    def failed(self) -> bool:
        """Whether a case has failed."""
        return any("error" in result for results in self._results.values() for result in results)

    def medians(self) -> dict[str, Result]:
        return {case: median(results) for case, results in self._results.items()}


def median(results: Sequence[Result]) -> Result:
    """The median of each metric over several results of a case; with the error of the first one that failed."""
    middle: dict[str, float | str] = {}
    for metric in dict.fromkeys(metric for result in results for metric in result):
        values = [result[metric] for result in results if metric in result]
        numbers = [value for value in values if not isinstance(value, str)]
        middle[metric] = statistics.median(numbers) if numbers else values[0]
    return middle


def as_line(name: str, case: str, result: Mapping[str, object]) -> str:
    rounded = {key: round(value, 3) if isinstance(value, float) else value for key, value in result.items()}
    return json.dumps({"name": name, "case": case, **rounded})


def read_headers(lines: Sequence[str]) -> dict[str, str]:
    headers = {}
    for line in lines:
        key, colon, value = line.partition(":")
        if not colon:
            raise SystemExit(f"--header: write 'Name: value', not {line!r}.")
        headers[key.strip()] = value.strip()
    return headers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the driver understands, alone and as part of `make bench`."""
    parser.add_argument("--header", action="append", default=[], help="for every request, as 'Name: value'")
    parser.add_argument("--name", default="deerflow", help="what the server is called in the JSON lines")
    parser.add_argument("--only", default="", metavar="CASE,CASE", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="run everything N times; print medians")
    parser.add_argument("--streams", type=int, default=2000, metavar="N", help="how many idle_streams opens")
    parser.add_argument("--pid", type=int, help="process id of the server at --url, to see how idle_streams grows it")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure a running server.")
    parser.add_argument("--url", required=True)
    add_arguments(parser)
    options = parser.parse_args(arguments)
    cases = choose(read_names(options.only), streams=options.streams, pid=options.pid)
    samples = Samples()
    for _ in range(options.repeat):
        asyncio.run(drive(options.url, read_headers(options.header), cases, samples.add))
        # True once for each start of a server: the next streams take the memory that these have left free.
        cases.pop(IDLE, None)
    for case, result in samples.medians().items():
        print(as_line(options.name, case, result))
    return int(samples.failed)


if __name__ == "__main__":
    sys.exit(main())
