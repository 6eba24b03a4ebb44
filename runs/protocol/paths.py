"""Paths into JSON, as searches take them: a key of the row, then keys after dots and positions in brackets."""

import re
from typing import Any

#: The keys of a thread that a path may start from.
ROOTS = ("values", "metadata", "interrupts", "error", "config")
MAX_LENGTH = 256

Path = tuple[str | int, ...]

_STEP = r"\.([^.\[\]]+)|\[(-?[0-9]{1,9})\]"
_PATH = re.compile(rf"({'|'.join(ROOTS)})((?:{_STEP})*)")


def parse(text: str) -> Path:
    """`values.messages[-1].content` as its steps. Raises ValueError."""
    found = _PATH.fullmatch(text) if len(text) <= MAX_LENGTH else None
    if found is None:
        raise ValueError(f"must be one of {', '.join(ROOTS)}, then keys (.key) and positions ([0], [-1])")
    return (found[1], *(key or int(position) for key, position in re.findall(_STEP, found[2])))


def read(value: Any, path: Path) -> Any:
    """What lies there; None when nothing does."""
    for step in path:
        if isinstance(step, str) and isinstance(value, dict):
            value = value.get(step)
        elif isinstance(step, int) and isinstance(value, list) and -len(value) <= step < len(value):
            value = value[step]
        else:
            return None
    return value
