"""Filters over JSON columns by keys that callers choose."""

import json
from typing import Any, TypeVar

from django.db.models import BooleanField, F, Func, QuerySet
from django.db.models.sql.compiler import SQLCompiler

from runs.jsons import equal_texts

#: A function that connections to SQLite are given.
_EQUAL = "RUNS_EQUAL_JSON"

Rows = TypeVar("Rows", bound=QuerySet[Any, Any])


def with_metadata(rows: Rows, wanted: dict[str, Any] | None) -> Rows:
    """Those rows whose `metadata` has these keys with these values."""
    return with_keys(rows, "metadata", wanted)


def with_keys(rows: Rows, column: str, wanted: dict[str, Any] | None) -> Rows:
    """Those rows whose JSON in this column is an object that has these keys with these values."""
    for key, value in (wanted or {}).items():
        rows = rows.filter(_Holds(column, key, value))
    return rows


class _Holds(Func):
    """Whether a JSON object has this key with this value.

    Key and value are parameters, never part of the SQL or of a JSON path, in which some keys would mean something.
    """

    output_field = BooleanField()

    def __init__(self, column: str, key: str, value: Any) -> None:
        super().__init__(F(column))
        self._key = key
        self._value = value

    def as_postgresql(self, compiler: SQLCompiler, connection: Any, **_: Any) -> tuple[str, tuple[Any, ...]]:
        column, params = compiler.compile(self.source_expressions[0])
        return f"({column} -> %s::text) = %s::jsonb", (*params, self._key, json.dumps(self._value))

    def as_sqlite(self, compiler: SQLCompiler, connection: Any, **_: Any) -> tuple[str, tuple[Any, ...]]:
        column, params = compiler.compile(self.source_expressions[0])
        test, values = _sqlite_test(self._value)
        if isinstance(self._value, dict | list):
            connection.ensure_connection()
            connection.connection.create_function(_EQUAL, 2, equal_texts, deterministic=True)
        pairs = f"SELECT 1 FROM JSON_EACH({column}) AS pair WHERE pair.key = %s AND {test}"
        return f"EXISTS ({pairs})", (*params, self._key, *values)


def _sqlite_test(value: Any) -> tuple[str, list[Any]]:
    if value is None:
        return "pair.type = 'null'", []
    if isinstance(value, bool):
        return "pair.type = %s", ["true" if value else "false"]
    if isinstance(value, int | float):
        return "pair.type IN ('integer', 'real') AND pair.atom = %s", [value]
    if isinstance(value, str):
        return "pair.type = 'text' AND pair.atom = %s", [value]
    return f"pair.type IN ('array', 'object') AND {_EQUAL}(pair.value, %s)", [json.dumps(value)]
