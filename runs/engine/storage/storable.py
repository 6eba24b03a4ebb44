"""What graphs put into the store, as every database can keep it."""

from collections.abc import Iterable
from typing import Any

import orjson
from langgraph.store.base import GetOp, ListNamespacesOp, Op, PutOp, SearchOp

from runs.engine.encode import as_text


def storable(op: Op) -> Op:
    """The operation with a value that is JSON: NaN and infinities become null, NUL and lone surrogates U+FFFD.

    Raises TypeError for a value that is no JSON, ValueError for a key or a label that no database could compare.
    """
    if any(_clean(text) != text for text in _names(op) if isinstance(text, str)):
        raise ValueError("Keys and namespace labels of items can not hold a NUL or a lone surrogate.")
    if isinstance(op, PutOp) and op.value is not None:
        return op._replace(value=_json(op.value))
    return op


def _names(op: Op) -> Iterable[str]:
    match op:
        case GetOp() | PutOp():
            return (*op.namespace, op.key)
        case SearchOp():
            return op.namespace_prefix
        case ListNamespacesOp():
            return [label for condition in op.match_conditions or () for label in condition.path]


def _json(value: Any) -> Any:
    try:
        data = orjson.dumps(value)
    except TypeError:  # Perhaps for its texts.
        data = orjson.dumps(_cleaned(value))
    if b"\\u0000" in data:
        data = orjson.dumps(_cleaned(orjson.loads(data)))
    return orjson.loads(data)


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, dict):
        return {_clean(key) if isinstance(key, str) else key: _cleaned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    return value


def _clean(text: str) -> str:
    return as_text(text, len(text))
