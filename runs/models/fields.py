"""A column of JSON whose numbers are the same in every database."""

import json
from typing import Any

from django.db import models

_INT64 = range(-(2**63), 2**63)


class JSONField(models.JSONField):
    """Django's, without integers that are no integers of JSON.

    PostgreSQL keeps numbers as decimals and writes 6.02e23 as digits, which Python reads as an integer, which is then
    too large for everybody else.
    """

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        if isinstance(value, str) and connection.vendor == "postgresql":
            return _DECODER.decode(value)
        return super().from_db_value(value, expression, connection)

    def deconstruct(self) -> Any:
        """As Django's own: the column is the same."""
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.JSONField", args, kwargs


def _number(digits: str) -> int | float:
    value = int(digits)
    return value if value in _INT64 else float(digits)


_DECODER = json.JSONDecoder(parse_int=_number)
