"""Querysets that are compiled once. What Django spends on a small query is mostly spent on composing its SQL; for the
few that every request or every run makes, that is done the first time only, and `for_tenant` stays where rules stand.
"""

import threading
import uuid
from collections.abc import Callable, Hashable, Sequence
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import QuerySet


class Prepared:
    """A `values_list` queryset with named parameters.

    `build` makes the queryset from example values, one for each parameter: all different, and of the type and kind of
    those to come, since a None or an empty list would compile to other SQL.
    """

    def __init__(self, build: Callable[..., QuerySet[Any, Any]], **examples: Any) -> None:
        self._build = build
        self._examples = examples
        self._statements: dict[str, _Statement] = {}
        self._lock = threading.Lock()

    def rows(self, **values: Any) -> list[Sequence[Any]]:
        """The rows for these parameters, converted as the queryset would."""
        statement = self._statements.get(connection.vendor)
        if statement is None:
            with self._lock:
                statement = _Statement(self._build(**self._examples), self._examples)
                self._statements[connection.vendor] = statement
        return statement.run(values)

    def first(self, **values: Any) -> Sequence[Any] | None:
        rows = self.rows(**values)
        return rows[0] if rows else None


class _Statement:
    def __init__(self, queryset: QuerySet[Any, Any], examples: dict[str, Any]) -> None:
        self._compiler = queryset.query.get_compiler(using=queryset.db)
        self._sql, params = self._compiler.as_sql()
        self._sql, self._params = _named(self._sql, params, {_adapted(value): name for name, value in examples.items()})
        missing = set(examples) - {param for param in self._params if isinstance(param, str)}
        if missing:
            raise ValueError(f"parameters that the query does not hold: {', '.join(sorted(missing))}")
        columns = [column for column, *_ in self._compiler.select[: self._compiler.col_count]]
        self._converters = self._compiler.get_converters(columns)

    def run(self, values: dict[str, Any]) -> list[Sequence[Any]]:
        adapted = {name: _adapted(value) for name, value in values.items()}
        params = [adapted[param] if isinstance(param, str) else param[0] for param in self._params]
        with connection.cursor() as cursor:
            cursor.execute(self._sql, params)
            rows: list[Sequence[Any]] = cursor.fetchall()
        if not self._converters:
            return rows
        return [self._converted(row) for row in rows]

    def _converted(self, row: Sequence[Any]) -> list[Any]:
        made = list(row)
        for position, (converters, expression) in self._converters.items():
            for converter in converters:
                made[position] = converter(made[position], expression, connection)
        return made


def _named(sql: str, params: Sequence[Any], names: dict[Any, str]) -> tuple[str, list[str | tuple[Any]]]:
    """For each placeholder the parameter's name, or a constant in a tuple.

    Constant words become part of the SQL: a partial index is used only where its condition stands literally.
    """
    named: list[str | tuple[Any]] = []
    parts = sql.split("%s")
    text = parts[0]
    for param, part in zip(params, parts[1:], strict=True):
        if isinstance(param, str) and param not in names and param.isidentifier():
            text += f"'{param}'" + part
            continue
        named.append(names[param] if isinstance(param, Hashable) and param in names else (param,))
        text += "%s" + part
    return text, named


def _adapted(value: Any) -> Any:
    """A value as the database driver takes it."""
    if isinstance(value, uuid.UUID):
        return value if connection.features.has_native_uuid_field else value.hex
    if isinstance(value, datetime):
        return connection.ops.adapt_datetimefield_value(value)
    return value
