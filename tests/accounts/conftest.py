"""`ask` sends a request to a view behind both authentication classes."""

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from rest_framework.parsers import JSONParser
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from accounts.authentication import ApiKeyAuthentication, BearerAuthentication
from accounts.permissions import TenantPermission

Ask = Callable[..., Response]


class WhoAmI(APIView):
    authentication_classes = (ApiKeyAuthentication, BearerAuthentication)
    permission_classes = (TenantPermission,)
    parser_classes = (JSONParser,)
    renderer_classes = (JSONRenderer,)
    required_permissions: ClassVar[dict[str, str]] = {"get": "threads:read", "post": "runs:create"}

    def get(self, request: Request) -> Response:
        return Response({"user": request.user.pk, "tenant": request.auth})

    def post(self, request: Request) -> Response:
        return Response(status=201)


@pytest.fixture
def ask() -> Ask:
    """Send the headers, `x_api_key="…"` style, and return the answer: for a 200 the user's id and the tenant.

    `view` overrides attributes of the view.
    """

    def ask(method: str = "get", *, view: dict[str, Any] | None = None, **headers: str) -> Response:
        meta: dict[str, Any] = {f"HTTP_{name.upper()}": value for name, value in headers.items()}
        return WhoAmI.as_view(**view or {})(APIRequestFactory().generic(method, "/", **meta))

    return ask
