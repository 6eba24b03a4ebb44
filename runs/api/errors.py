"""Refusals as answers: one shape, `{"detail": …}`: a sentence, or for fields a list of `{loc, msg, type}`."""

import logging
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.db import DatabaseError, InterfaceError
from pydantic import ValidationError
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler

from runs.exceptions import Conflict, Forbidden, Invalid, NotFound, Refusal, Unavailable
from runs.postgres import is_transient

logger = logging.getLogger(__name__)

_STATUS: dict[type[Refusal], int] = {Forbidden: 403, NotFound: 404, Conflict: 409, Invalid: 422, Unavailable: 503}
_RETRY = {"Retry-After": "1"}
_MAX_ERRORS = 10
_MAX_TEXT = 100


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's hook. None lets an unforeseen error become the site's 500."""
    if isinstance(exc, Invalid):
        return Response({"detail": [{"loc": exc.loc, "msg": exc.detail, "type": "value_error"}]}, 422)
    if isinstance(exc, Refusal):
        status = _STATUS[type(exc)]
        return Response({"detail": exc.detail}, status, headers=_RETRY if status == 503 else None)
    if isinstance(exc, ValidationError):
        return Response({"detail": _fields(exc)}, 422)
    if isinstance(exc, RequestDataTooBig):
        return Response({"detail": "The body is too large."}, 413)
    if isinstance(exc, DatabaseError | InterfaceError):
        # Of an outage one line is enough; anything else is worth a look.
        logger.error("the database failed a request: %s", exc, exc_info=not is_transient(exc))
        return Response({"detail": "The database does not answer; try again."}, 503, headers=_RETRY)
    return drf_exception_handler(exc, context)


def _fields(exc: ValidationError) -> list[dict[str, Any]]:
    return [
        {"loc": ["body", *_shortened(error["loc"])], "msg": error["msg"][:_MAX_TEXT], "type": error["type"]}
        for error in exc.errors(include_url=False, include_input=False, include_context=False)[:_MAX_ERRORS]
    ]


def _shortened(loc: tuple[int | str, ...]) -> list[int | str]:
    return [part[:_MAX_TEXT] if isinstance(part, str) else part for part in loc]
