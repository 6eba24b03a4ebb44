"""JSON in and out. What comes in is held to what every database and client can take."""

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

import orjson
from django.http import HttpRequest
from rest_framework.exceptions import APIException, ParseError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer

MAX_DEPTH = 64
_INT64 = range(-(2**63), 2**63)
_MAX_DIGITS = 19


class BadJson(APIException):
    """A body that is JSON but holds what can not be stored; `detail` says where."""

    status_code = 422


class JSONParser(BaseParser):
    """Strict JSON: UTF-8, at most MAX_DEPTH deep, no NaN or infinity, no duplicate key, integers of 64 bits, no NUL,
    no lone surrogate. An empty body is an empty object."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        return parse_json(stream.read())


class JSONRenderer(BaseRenderer):
    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        """`data` as JSON; bytes are JSON already; None is no body."""
        if data is None:
            return b""
        return data if isinstance(data, bytes) else to_json(data)


class Negotiation(BaseContentNegotiation):
    """The API speaks JSON whatever a client says that it accepts; where a stream is possible the view looks itself."""

    def select_parser(self, request: HttpRequest, parsers: Any) -> Any:
        media_type = (request.content_type or "").partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == media_type), None)

    def select_renderer(self, request: HttpRequest, renderers: Any, format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type


def to_json(value: Any) -> bytes:
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z)


def parse_json(body: bytes) -> Any:
    """Raises ParseError for what is not JSON, BadJson for JSON that can not be taken."""
    if not body.strip():
        return {}
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ParseError("The body is not UTF-8.") from None
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise _too_deep() from None
    except json.JSONDecodeError as exc:
        raise ParseError(f"The body is not JSON: {exc.msg} at position {exc.pos}.") from None
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(value, 1)
    if "\\u" in text or "\0" in text:
        _check_text(value, ())
    return value


def _too_deep() -> BadJson:
    return BadJson(f"The body is nested deeper than {MAX_DEPTH} levels.")


def _check_depth(value: Any, depth: int) -> None:
    if isinstance(value, dict | list):
        if depth > MAX_DEPTH:
            raise _too_deep()
        for item in value.values() if isinstance(value, dict) else value:
            _check_depth(item, depth + 1)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise BadJson(f"The key '{_sayable(twice[:100])}' stands twice in one object.")
    return made


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > _MAX_DIGITS or int(digits) not in _INT64:
        raise BadJson("An integer does not fit into 64 bits.")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise BadJson("A number is too large.")
    return value


def _constant(name: str) -> NoReturn:
    raise BadJson(f"{name} is not JSON.")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant, strict=True
)


def _sayable(text: str) -> str:
    """`text` as an answer can hold it: lone surrogates written out."""
    return text.encode("utf-8", "backslashreplace").decode()


def _check_text(value: Any, path: tuple[str | int, ...]) -> None:
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            where = _sayable(".".join(map(str, path))[:200])
            raise BadJson(f"The text at '{where}' holds a NUL or a lone surrogate.")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(key, (*path, key))
            _check_text(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_text(item, (*path, index))
