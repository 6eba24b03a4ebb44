"""Whether this server lives, and whether it is of use now: answered on the event loop, without the request's threads.

`/live` says that the loop turns. `/ready` says that the database answers and has what this code needs, that engines
are there and that the server is not about to stop.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
from django.db import Error

from deerflow_site.handler import Receive, Send
from deerflow_site.startup import is_migrated
from runs.database import in_database
from runs.models import Graph

#: Probes that come faster share an answer.
_KEPT_SECONDS = 1.0
_PATIENCE_SECONDS = 3.0


class Health:
    """Answers `/live` and `/ready`, and passes everything else on to `application`."""

    def __init__(self, application: Callable[[Any, Receive, Send], Any]) -> None:
        self._application = application
        #: Whether the host of this process works; set by whoever starts one.
        self.host_is_ready: Callable[[], bool] = lambda: False
        self._migrated = False
        self._checking: asyncio.Task[str] | None = None

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope.get("path") == "/live":
            await _answer(send, 200, {"ok": True})
        elif scope.get("path") == "/ready":
            missing = await self._missing()
            await _answer(send, 503 if missing else 200, {"detail": missing} if missing else {"ok": True})
        else:
            await self._application(scope, receive, send)

    async def _missing(self) -> str:
        """Why this server is of no use; empty when it is."""
        if self._checking is None:
            self._checking = asyncio.create_task(self._check())
            self._checking.add_done_callback(self._forget_soon)
        return await asyncio.shield(self._checking)

    def _forget_soon(self, _: object) -> None:
        asyncio.get_running_loop().call_later(_KEPT_SECONDS, self._forget)

    def _forget(self) -> None:
        self._checking = None

    async def _check(self) -> str:
        if not self.host_is_ready():
            return "The server starts or stops, or its engines do."
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await in_database(Graph.objects.exists)
                self._migrated = self._migrated or await in_database(is_migrated)
        except (Error, TimeoutError):
            return "The database does not answer."
        return "" if self._migrated else "The database is not migrated."


async def _answer(send: Send, status: int, body: dict[str, Any]) -> None:
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    if status == 503:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": orjson.dumps(body)})
