"""What a 422 complains of."""

from typing import Any


def locs(response: Any) -> list[Any]:
    """Where each of its problems lies."""
    detail = response.json()["detail"]
    return [problem["loc"] for problem in detail] if isinstance(detail, list) else [detail]


def named(response: Any, *loc: str) -> bool:
    """Whether one of the problems is of this field, or of something in it."""
    return any(problem[: len(loc)] == list(loc) for problem in locs(response))
