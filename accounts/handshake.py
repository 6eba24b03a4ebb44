"""Who opens a WebSocket: an API key, a bearer token, a ticket, or a browser's cookie.

A page of any site may open a socket and the browser adds the cookie, so the cookie counts only when the site itself, or
an origin that the operator named, opens it. What the caller must put in by itself may come from anywhere.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from rest_framework.exceptions import AuthenticationFailed, PermissionDenied

from accounts.authentication import API_KEY_HEADER, identify_by_api_key, identify_by_bearer
from accounts.tenancy import Tenant
from accounts.tickets import use_ticket

ACCESS_COOKIE: Final = "access_token"
NO_CREDENTIAL: Final = "Send X-Api-Key, Authorization, or a ticket from /api/v1/auth/ws-ticket."
_TRY_AGAIN: Final = 1013
FOREIGN_ORIGIN: Final = "A cookie opens a socket only for pages of this site."


def identify_opener(
    headers: Mapping[str, str], query: Mapping[str, str], cookies: Mapping[str, str], *, from_own_page: bool
) -> Tenant:
    """Return whom the handshake's one credential stands for; names of headers are in lower case.

    `from_own_page`: whether its Origin is one whose cookies count. Raises 401 without a valid credential, 403 for a
    cookie from elsewhere.
    """
    if key := headers.get(API_KEY_HEADER.lower(), "").strip():
        return identify_by_api_key(key)[1]
    scheme, _, token = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer":
        return identify_by_bearer(token.strip())[1]
    if ticket := query.get("ticket"):
        return use_ticket(ticket)
    if cookie := cookies.get(ACCESS_COOKIE):
        if not from_own_page:
            raise PermissionDenied(FOREIGN_ORIGIN)
        return identify_by_bearer(cookie)[1]
    raise AuthenticationFailed(NO_CREDENTIAL)


async def refuse(scope: Mapping[str, Any], send: Any, status: int, detail: str) -> None:
    """Refuse a handshake, once it has come, such that its client sees why.

    Programs see the status of a handshake that is answered as a request is. Pages see only how a socket was closed:
    theirs is accepted, and closed with 4000 and the status, or 1013 where trying again may help.
    """
    if "websocket.http.response" in scope.get("extensions", {}) and not _is_of_a_page(scope):
        headers = [(b"content-type", b"application/json")]
        await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": json.dumps({"detail": detail}).encode()})
    else:
        await send({"type": "websocket.accept"})
        code = _TRY_AGAIN if status >= 500 else 4000 + status
        await send({"type": "websocket.close", "code": code, "reason": detail})


def _is_of_a_page(scope: Mapping[str, Any]) -> bool:
    """Whether a browser sent it: those name the origin of the page."""
    return any(name == b"origin" for name, _ in scope["headers"])
