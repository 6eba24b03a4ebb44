"""Items of the store: put, got, deleted and found."""

from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, Field, StringConstraints, field_validator

from runs.protocol.requests.base import Body, Json

MAX_LABELS = 20
#: Bytes in UTF-8. An index of the database holds a namespace, a key and a path together.
MAX_NAMESPACE = 1024
MAX_KEY = 1024
_MAX_PATH = 255
MAX_VALUE = 1024 * 1024
#: Ten years, in minutes.
_MAX_TTL = 5_256_000

_COMPARING = frozenset({"$gt", "$gte", "$lt", "$lte"})
_OPERATORS = frozenset({"$eq", "$ne", *_COMPARING})


def check_namespace(labels: list[str]) -> list[str]:
    """Raises ValueError."""
    for label in labels:
        if not label or "." in label:
            raise ValueError(f"Namespace label '{label[:100]}' must be a non-empty string without periods")
    if len(labels) > MAX_LABELS or len(".".join(labels).encode()) > MAX_NAMESPACE:
        raise ValueError(f"a namespace has at most {MAX_LABELS} labels, of {MAX_NAMESPACE} bytes together")
    return labels


def check_place(labels: list[str]) -> list[str]:
    """The namespace of an item. Raises ValueError."""
    if not labels:
        raise ValueError("a namespace has at least one label")
    if labels[0] == "langgraph":
        raise ValueError("the first label may not be 'langgraph'")
    return check_namespace(labels)


def check_key(key: str) -> str:
    if not key or len(key.encode()) > MAX_KEY:
        raise ValueError(f"must have 1 to {MAX_KEY} bytes")
    return key


def _check_path(path: str) -> str:
    if not path or len(path.encode()) > _MAX_PATH:
        raise ValueError(f"must have 1 to {_MAX_PATH} bytes")
    return path


Labels = Annotated[list[str], Field(max_length=MAX_LABELS, fail_fast=True)]
Namespace = Annotated[Labels, AfterValidator(check_namespace)]
Place = Annotated[Labels, AfterValidator(check_place)]
Key = Annotated[str, AfterValidator(check_key)]
IndexPath = Annotated[str, AfterValidator(_check_path)]
#: The database adapters take other keys for parts of a query.
FilterKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,255}$")]


class ItemPut(Body):
    namespace: Place
    key: Key
    value: Json
    index: Literal[False] | Annotated[list[IndexPath], Field(max_length=50, fail_fast=True)] | None = None
    #: Minutes; None: as the site is configured.
    ttl: float | None = Field(default=None, gt=0, le=_MAX_TTL)

    @field_validator("value")
    @classmethod
    def _not_too_large(cls, value: Json) -> Json:
        if len(orjson.dumps(value)) > MAX_VALUE:
            raise ValueError(f"must have at most {MAX_VALUE} bytes of JSON")
        return value


class ItemDelete(Body):
    namespace: Place
    key: Key


class ItemSearch(Body):
    namespace_prefix: Namespace
    filter: Annotated[dict[FilterKey, Any], Field(max_length=50)] | None = None
    limit: int = Field(default=10, ge=1, le=1000)
    offset: int = Field(default=0, ge=0, le=2**31)
    query: str | None = Field(default=None, max_length=10_000)
    refresh_ttl: bool | None = None

    @field_validator("filter")
    @classmethod
    def _known_operators(cls, value: Json | None) -> Json | None:
        for key, condition in (value or {}).items():
            if isinstance(condition, dict) and any(name.startswith("$") for name in condition):
                _check_operators(key, condition)
        return value


def _check_operators(key: str, condition: Json) -> None:
    for name, wanted in condition.items():
        if name not in _OPERATORS:
            raise ValueError(f"'{key}': '{name[:50]}' is none of {', '.join(sorted(_OPERATORS))}")
        if name in _COMPARING and (isinstance(wanted, bool) or not isinstance(wanted, str | int | float)):
            raise ValueError(f"'{key}': '{name}' compares with a number or a string")


class NamespaceSearch(Body):
    """`*` stands for any one label."""

    prefix: Namespace | None = None
    suffix: Namespace | None = None
    max_depth: int | None = Field(default=None, ge=1, le=MAX_LABELS)
    limit: int = Field(default=100, ge=1, le=1000)
    offset: int = Field(default=0, ge=0, le=2**31)
