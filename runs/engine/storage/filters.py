"""Conditions of a search of items, the same on every database: keys are names, never paths or SQL.

LangGraph's own compare numbers as text on PostgreSQL, take a period in a key for a path on SQLite, and find no lists
there.
"""

from typing import Any

import orjson

Condition = tuple[str, list[Any]]

#: A function that connections to SQLite have: `runs.jsons.equal_texts`.
SQLITE_EQUAL = "equal_json"

_SIGNS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
OPERATORS = frozenset({"$eq", "$ne", *_SIGNS})


def with_operators(filter: dict[str, Any]) -> dict[str, Any]:
    """Every condition of `filter` as an object of operators. A key without one must be equal."""
    return {key: value if _has_operators(value) else {"$eq": value} for key, value in filter.items()}


def _has_operators(value: Any) -> bool:
    return isinstance(value, dict) and any(str(key).startswith("$") for key in value)


def sqlite_condition(key: str, operator: str, value: Any) -> Condition:
    """The value at `key` compared with `value`. `key` holds no quotation mark. Raises ValueError."""
    path = f'$."{key}"'
    if operator == "$ne":
        equal, params = _sqlite_equal(path, value)
        return f"NOT coalesce({equal}, 0)", params
    if operator == "$eq":
        return _sqlite_equal(path, value)
    return _sqlite_compared(path, _sign(operator), value)


def _sqlite_equal(path: str, value: Any) -> Condition:
    if value is None or isinstance(value, bool):
        return "coalesce(json_type(value, ?), 'null') = ?", [path, orjson.dumps(value).decode()]
    if isinstance(value, str | int | float):
        return _sqlite_compared(path, "=", value)
    kind = "object" if isinstance(value, dict) else "array"
    wanted = orjson.dumps(value).decode()
    return f"(json_type(value, ?) = ? AND {SQLITE_EQUAL}(json_extract(value, ?), ?))", [path, kind, path, wanted]


def _sqlite_compared(path: str, sign: str, value: Any) -> Condition:
    kinds = "'text'" if isinstance(value, str) else "'integer', 'real'"
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return "FALSE", []
    return f"(json_type(value, ?) IN ({kinds}) AND json_extract(value, ?) {sign} ?)", [path, path, value]


def postgres_condition(key: str, operator: str, value: Any) -> Condition:
    """As above; any `key` will do."""
    wanted = orjson.dumps(value).decode()
    if operator in ("$eq", "$ne"):
        sign = "=" if operator == "$eq" else "<>"
        return f"coalesce(value->%s, 'null') {sign} %s::jsonb", [key, wanted]
    sign = _sign(operator)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return "FALSE", []
    same_kind = "jsonb_typeof(value->%s) = jsonb_typeof(%s::jsonb)"
    return f"({same_kind} AND value->%s {sign} %s::jsonb)", [key, wanted, key, wanted]


def _sign(operator: str) -> str:
    if operator not in _SIGNS:
        raise ValueError(f"Unsupported operator: {operator}")
    return _SIGNS[operator]
