"""The API of accounts."""

from typing import ClassVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from pydantic import BaseModel, ConfigDict
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.tenancy import Tenant
from accounts.tickets import LIFETIME, issue_ticket


class NewTicket(BaseModel):
    """A ticket for one WebSocket: it is not shown again."""

    model_config = ConfigDict(extra="forbid")

    ticket: str
    #: Seconds.
    expires_in: int


class TicketRequest(BaseModel):
    """Empty: a ticket stands for its caller."""

    model_config = ConfigDict(extra="forbid")


_REFUSALS = {
    400: "The body is not JSON.",
    401: "No credential, or none that is valid.",
    403: "No organization is selected.",
    413: "The body is too large.",
    415: "The body is not `application/json`.",
    422: "A field is wrong; `detail` names it.",
    503: "Worth trying again, after as many seconds as `Retry-After` says.",
}


class WebSocketTicketView(APIView):
    """For whoever is signed in: the permission is one that every role gives."""

    required_permissions: ClassVar[dict[str, str]] = {"post": "threads:read"}

    @extend_schema(
        operation_id="create_ws_ticket",
        summary="Make a ticket that opens one WebSocket",
        request=TicketRequest,
        responses={
            200: NewTicket,
            **{status: OpenApiResponse(OpenApiTypes.OBJECT, text) for status, text in _REFUSALS.items()},
        },
    )
    def post(self, request: Request) -> Response:
        TicketRequest.model_validate(request.data)
        assert isinstance(request.auth, Tenant)
        made = NewTicket(ticket=issue_ticket(request.auth), expires_in=int(LIFETIME.total_seconds()))
        return Response(made.model_dump(), headers={"Cache-Control": "no-store"})
