"""Who opens a WebSocket, found out before it is accepted; the socket's own application is given the tenant."""

from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Any

from channels.routing import URLRouter
from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.core.handlers.asgi import ASGIRequest
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest
from django.urls import re_path
from rest_framework.exceptions import APIException

from accounts.handshake import identify_opener, refuse
from accounts.tenancy import Tenant
from deerflow_site.middleware import believe_trusted_proxies
from runs.consumers.routing import SOCKETS
from runs.database import in_database

Application = Callable[[Any, Any, Any], Awaitable[None]]


class Handshake:
    """Refuses whoever has no credential, and passes the others on with `scope["tenant"]`."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        try:
            tenant = await in_database(_identify, scope)
        except SuspiciousOperation:
            await _refuse(scope, receive, send, 400, "Bad Request")
        except APIException as exc:
            await _refuse(scope, receive, send, exc.status_code, str(exc.detail))
        except (OperationalError, InterfaceError):
            await _refuse(scope, receive, send, 503, "The database does not answer; try again.")
        else:
            origin = [header for header in scope["headers"] if header[0] == b"origin"]
            await self._application({**scope, "headers": origin, "tenant": tenant}, receive, send)


async def _refuse(scope: dict[str, Any], receive: Any, send: Any, status: int, detail: str) -> None:
    await receive()
    await refuse(scope, send, status, detail)


def _identify(scope: dict[str, Any]) -> Tenant:
    request = ASGIRequest({**scope, "method": "GET"}, BytesIO())
    believe_trusted_proxies(request.META)
    headers = {name.lower(): value for name, value in request.headers.items()}
    return identify_opener(headers, request.GET.dict(), request.COOKIES, from_own_page=_is_from_own_page(request))


def _is_from_own_page(request: HttpRequest) -> bool:
    """Whether the Origin is the site's own, or one whose pages may use cookies. Raises DisallowedHost."""
    own = f"{request.scheme}://{request.get_host()}"
    return request.headers.get("Origin") in {own, *settings.CORS_ALLOWED_ORIGINS}


async def _unknown_address(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await _refuse(scope, receive, send, 404, "Not Found")


#: At the root and under /api, as the rest of the API.
_applications: dict[str, Any] = {rf"^(?:api/)?{path}\Z": Handshake(it) for path, it in SOCKETS.items()}
_patterns = {**_applications, "": _unknown_address}
_routes: list[Any] = [re_path(path, application) for path, application in _patterns.items()]
sockets = URLRouter(_routes)
