"""Filters over JSON columns by keys that callers choose."""

import re
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from django.db.models.fields.json import KeyTransform, KeyTransformExact

from runs.exceptions import Invalid

M = TypeVar("M", bound=Model)

#: Keys that every database can look up as they are.
_KEY = re.compile(r"[^\"\\\x00-\x1f]{1,255}")


def with_metadata(rows: QuerySet[M], wanted: dict[str, Any] | None) -> QuerySet[M]:
    """Those rows whose `metadata` has these keys with these values. Raises Invalid for a key that can not be one."""
    for key, value in (wanted or {}).items():
        if not _KEY.fullmatch(key):
            raise Invalid(("body", "metadata"), "has a key that can not be searched for")
        rows = rows.filter(KeyTransformExact(KeyTransform(key, "metadata"), value))
    return rows
