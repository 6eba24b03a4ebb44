"""JSON values compared as PostgreSQL compares them, for databases that know them as text only. Pure."""

import json
from typing import Any


def equal(one: Any, other: Any) -> bool:
    """Whether two values are the same: keys in whatever order, 1 and 1.0 one number, and true none."""
    if isinstance(one, dict):
        same_keys = isinstance(other, dict) and one.keys() == other.keys()
        return same_keys and all(equal(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(equal, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def contains(held: Any, wanted: Any) -> bool:
    """Whether `held` has all that `wanted` has: its keys at every level, the items of its lists in any order."""
    if isinstance(wanted, dict):
        return isinstance(held, dict) and all(
            key in held and contains(held[key], value) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(held, list) and all(any(contains(item, value) for item in held) for value in wanted)
    return equal(held, wanted)


def equal_texts(one: Any, wanted: str) -> bool:
    """`equal` of what two texts say: a function for SQLite, which may ask about what is no JSON at all."""
    try:
        return equal(json.loads(one), json.loads(wanted))
    except (TypeError, ValueError):
        return False
