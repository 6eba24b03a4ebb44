"""The tools of the built-in agent: harmless, local, and answering with a sentence instead of an exception."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from langchain_core.tools import BaseTool, tool

from runs.builtin.calculator import CalculationError, evaluate


@tool
def current_time(timezone: str = "UTC") -> str:
    """Tell the current date and time in an IANA time zone such as Europe/Berlin."""
    try:
        zone = UTC if timezone == "UTC" else ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return "There is no such time zone; use an IANA name such as Europe/Berlin."
    now = datetime.now(zone)
    return f"{now:%Y-%m-%d %H:%M:%S} {timezone} (UTC{now.isoformat()[-6:]})"


@tool
def calculate(expression: str) -> str:
    """Work out an arithmetic expression of numbers, + - * / // % ** and brackets."""
    try:
        return f"{expression} = {evaluate(expression)}"
    except CalculationError as exc:
        return f"I cannot calculate that: {exc}."


TOOLS: tuple[BaseTool, ...] = (current_time, calculate)
