"""What all viewsets of the API share."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from runs.api.shapes import selected
from runs.api.wire import Negotiation
from runs.protocol.requests import Search

R = TypeVar("R")


class ApiViewSet(ViewSet):
    """Authenticated by key or token; `required_permissions` names for each action what its caller must be allowed."""

    content_negotiation_class = Negotiation
    required_permissions: ClassVar[dict[str, str]]


def page(rows: Sequence[R], query: Search, fields: Callable[[R], dict[str, Any]]) -> Response:
    """A page of a search, and headers that say whether there is more; `rows` has one more than asked for then."""
    shown = [selected(fields(row), query.select) for row in rows[: query.limit]]
    headers = {"x-pagination-total": str(query.offset + len(rows))}
    if len(rows) > query.limit:
        headers["x-pagination-next"] = str(query.offset + query.limit)
    return Response(shown, headers=headers)


def prefix_of(request: Request) -> str:
    """What stands before the API's own paths in this request's address: nothing, or `/api`."""
    return "/api" if request.path.startswith("/api/") else ""
