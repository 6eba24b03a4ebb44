"""What a measurement prints: where it was made, and its figures beside those that they compare with."""

import os
import platform
import sqlite3
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from bench.driver import Result
from bench.figures import FIGURES, Figure, Shape

ROOT = Path(__file__).parents[1]
_PACKAGES = (
    "Django",
    "djangorestframework",
    "channels",
    "daphne",
    "langgraph",
    "langgraph-checkpoint-sqlite",
    "langchain-core",
    "orjson",
    "aiohttp",
)
_HEADINGS = ("case", "figure", "measured", "to reach", "reached", "best peer", "raw LangGraph", "of raw", "also")
_NOTHING = "-"


def machine() -> dict[str, str]:
    """Where and of what the measurement is, and how busy the machine is now."""
    return {
        "cpu": f"{os.cpu_count()} x {_cpu_model()}",
        "system": platform.platform(),
        "python": f"{platform.python_implementation()} {platform.python_version()}, SQLite {sqlite3.sqlite_version}",
        "packages": ", ".join(f"{name} {_version(name)}" for name in _PACKAGES),
        "revision": _revision(),
        "load": load(),
    }


def load() -> str:
    """The load averages over 1, 5 and 15 minutes."""
    return " ".join(f"{average:.2f}" for average in os.getloadavg())


def table(results: Mapping[str, Result], raw: Mapping[str, float], shape: Shape) -> str:
    """The measured figures in rows, each beside its goal, the best peer and raw LangGraph; failures below."""
    rows = [_row(figure, results[figure.case], raw, shape) for figure in FIGURES if figure.case in results]
    failures = [f"{case} failed: {result['error']}" for case, result in results.items() if "error" in result]
    return "\n".join([*_aligned([_HEADINGS, *filter(None, rows)]), *failures])


def raw_summary(raw: Mapping[str, float]) -> str:
    return "raw LangGraph: " + ", ".join(f"{name} {_number(value)}" for name, value in raw.items())


def _row(figure: Figure, result: Result, raw: Mapping[str, float], shape: Shape) -> Sequence[str] | None:
    value = result.get(figure.metric)
    if value is None or isinstance(value, str):
        return None
    beside = raw.get(figure.raw) if figure.raw else None
    return (
        figure.case,
        figure.metric,
        f"{_number(value)} {figure.unit}",
        f"{'<=' if figure.less_is_better else '>='} {_number(figure.goal(shape))}",
        "yes" if figure.is_reached(value, shape) else "no",
        figure.peer,
        _NOTHING if beside is None else _number(beside),
        _NOTHING if not beside else f"{value / beside:.2f}",
        _other_metrics(figure, result),
    )


def _other_metrics(figure: Figure, result: Result) -> str:
    """The case's metrics that have no row of their own, on the first of its rows."""
    of_case = [other for other in FIGURES if other.case == figure.case]
    if figure is not of_case[0]:
        return ""
    with_row = {other.metric for other in of_case} | {"error"}
    return ", ".join(f"{key} {_number(float(value))}" for key, value in result.items() if key not in with_row)


def _number(value: float) -> str:
    """Three digits, or all before the point; a space before each thousand."""
    if value == 0 or abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"


def _aligned(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"


def _revision() -> str:
    """The commit that is measured; with a mark if files differ from it, empty if nothing is known of it."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--exclude=*"], cwd=ROOT, capture_output=True, text=True
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip()
