"""The Idempotency-Key of a request."""

import hashlib
from typing import Any

import orjson
from rest_framework.request import Request

from runs.api.base import prefix_of
from runs.exceptions import Invalid
from runs.services.once import Once

_MAX_KEY = 255


def once_of(request: Request, asked: Any = None) -> Once | None:
    """What the request is to be recognised by when it is sent again; None without a key. Raises Invalid.

    `asked`: what of the body makes it another request; all of it.
    """
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    key = key.strip()
    if not (key and len(key) <= _MAX_KEY and key.isascii() and key.isprintable()):
        raise Invalid(("header", "Idempotency-Key"), f"must be 1 to {_MAX_KEY} printable characters of ASCII")
    route = request.path.removeprefix(prefix_of(request))
    body = orjson.dumps(request.data if asked is None else asked, option=orjson.OPT_SORT_KEYS)
    return Once(_digest(f"{route}\0{key}".encode()), _digest(body))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
