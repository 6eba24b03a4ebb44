"""JSON of whatever a graph emits. What JSON or a database can not hold is replaced here, the same way everywhere."""

from collections.abc import Mapping, Sequence, Set
from typing import Any

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

    NaN and infinities become null, integers beyond 64 bits strings, NUL and lone surrogates U+FFFD.
    """
    try:
        data = orjson.dumps(value, default=_plain, option=_OPTIONS)
    except TypeError:
        data = orjson.dumps(_clean(value, 0), default=_plain, option=_OPTIONS)
    if b"\\u0000" in data:
        data = orjson.dumps(_clean(orjson.loads(data), 0), option=_OPTIONS)
    return data


def message_fields(message: BaseMessage) -> dict[str, Any]:
    """What `model_dump` gives for a message, at a fraction of its price: messages have plain fields only."""
    return {**message.__dict__, **(message.__pydantic_extra__ or {})}


def _plain(value: Any) -> Any:
    if isinstance(value, BaseMessage):
        return message_fields(value)
    if isinstance(value, BaseModel):
        return value.model_dump()
    if hasattr(value, "_asdict"):
        return value._asdict()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Set | Sequence) and not isinstance(value, str | bytes | bytearray | memoryview):
        return list(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "replace")
    if isinstance(value, BaseException):
        return {"error": type(value).__name__, "message": str(value)}
    return f"<{type(value).__name__}>"


def _clean(value: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        return "<too deep>"
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")
    if isinstance(value, bool | float | None):
        return value
    if isinstance(value, int):
        return value if value in _INT64 else str(value)
    if isinstance(value, Mapping):
        return {_clean(_key(key), depth + 1): _clean(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_asdict"):
        return [_clean(item, depth + 1) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        return {name: _clean(getattr(value, name), depth + 1) for name in value.__dataclass_fields__}
    return _clean(_plain(value), depth + 1)


def _key(key: Any) -> str:
    return key if isinstance(key, str) else str(key)
