"""JSON of whatever a graph emits. What JSON or a database can not hold is replaced here, the same way everywhere."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from datetime import date, time
from enum import Enum
from typing import Any
from uuid import UUID

import orjson
from langchain_core.messages import BaseMessage
from pydantic import BaseModel

from runs.records import MAX_EVENT_BYTES

_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
_MAX_DEPTH = 200
_INT64 = range(-(2**63), 2**63)


class EventTooLarge(Exception):
    """A graph emitted more in one event than an event may weigh."""

    def __init__(self, size: int) -> None:
        super().__init__(f"an event of {size} bytes is above the limit of {MAX_EVENT_BYTES}")


def encode(value: Any) -> bytes:
    """`value` as the JSON of an event. Raises EventTooLarge."""
    data = to_json(value)
    if len(data) > MAX_EVENT_BYTES:
        raise EventTooLarge(len(data))
    return data


def to_json(value: Any) -> bytes:
    """`value` as JSON: messages and models as their fields, sets as lists, anything unknown by the name of its type.

    NaN and infinities become null, integers beyond 64 bits strings, NUL and lone surrogates U+FFFD; where something
    would hold itself stands `<cycle>`.
    """
    try:
        data = orjson.dumps(value, default=_plain, option=_OPTIONS)
    except TypeError:
        data = orjson.dumps(_clean(value, ()), default=_plain, option=_OPTIONS)
    if b"\\u0000" in data:
        data = orjson.dumps(_clean(orjson.loads(data), ()), option=_OPTIONS)
    return data


def as_text(text: str, limit: int) -> str:
    """A text of at most `limit` characters as a column of any database can hold it."""
    text = text[:limit]
    try:
        text.encode()
    except UnicodeEncodeError:
        text = _clean(text, ())
    return text.replace("\0", "\ufffd")


def message_fields(message: BaseMessage) -> dict[str, Any]:
    """What `model_dump` gives for a message, at a fraction of its price: messages have plain fields only."""
    return {**message.__dict__, **(message.__pydantic_extra__ or {})}


def _plain(value: Any) -> Any:
    if isinstance(value, BaseMessage):
        return message_fields(value)
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return value._asdict()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Set | Sequence) and not isinstance(value, str | bytes | bytearray | memoryview):
        return list(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "replace")
    if isinstance(value, BaseException):
        return {"error": type(value).__name__, "message": str(value)}
    if hasattr(value, "tolist") and not isinstance(value, type):
        return value.tolist()
    return f"<{type(value).__name__}>"


def _clean(value: Any, within: tuple[Any, ...]) -> Any:
    """What `orjson` can take; `within`: the containers that hold `value`."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")
    if isinstance(value, bool | float | None):
        return value
    if isinstance(value, int):
        return value if value in _INT64 else str(value)
    if isinstance(value, date | time | UUID):
        return str(value) if isinstance(value, UUID) else value.isoformat()
    if isinstance(value, Enum):
        return _clean(value.value, within)
    if any(value is container for container in within):
        return "<cycle>"
    if len(within) > _MAX_DEPTH:
        return "<too deep>"
    within = (*within, value)
    if isinstance(value, Mapping):
        return {_clean(_key(key), within): _clean(item, within) for key, item in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_asdict"):
        return [_clean(item, within) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in fields(value) if field.name[0] != "_" and hasattr(value, field.name)]
        return {name: _clean(getattr(value, name), within) for name in names}
    return _clean(_plain(value), within)


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    try:
        (name,) = orjson.loads(orjson.dumps({key: None}, option=_OPTIONS))
    except TypeError:
        return str(key)
    return str(name)
