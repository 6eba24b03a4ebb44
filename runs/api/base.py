"""What all viewsets of the API share."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from runs.api.shapes import selected
from runs.api.streaming import LiveResponse
from runs.api.wire import Negotiation
from runs.protocol.requests.assistants import AssistantSearch
from runs.protocol.requests.crons import CronSearch

R = TypeVar("R")


class ApiViewSet(ViewSet):
    """Authenticated by key or token; `required_permissions` names for each action what its caller must be allowed."""

    content_negotiation_class = Negotiation
    required_permissions: ClassVar[dict[str, str]]

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        answer: HttpResponseBase = super().finalize_response(request, response, *args, **kwargs)
        answer.headers.setdefault("Cache-Control", "no-store")
        if request.method == "HEAD" and isinstance(answer, LiveResponse):
            # Nobody would read its parts, and whoever asks for the head alone is no reader that may leave.
            return HttpResponse(status=answer.status_code, headers=answer.headers)
        return answer


def page(
    rows: Sequence[R],
    query: AssistantSearch | CronSearch,
    fields: Callable[[R], dict[str, Any]],
) -> Response:
    """A page of a search, and headers that say whether there is more; `rows` has one more than asked for then."""
    shown = [selected(fields(row), query.select) for row in rows[: query.limit]]
    headers = {"x-pagination-total": str(query.offset + len(rows))}
    if len(rows) > query.limit:
        headers["x-pagination-next"] = str(query.offset + query.limit)
    return Response(shown, headers=headers)


def prefix_of(request: Request) -> str:
    """What stands before the API's own paths in this request's address: nothing, or `/api`."""
    return "/api" if request.path.startswith("/api/") else ""
