"""Django under ASGI, such that a live stream holds nothing.

Django's own handler keeps a thread and its database connection for each open response. Here a request passes the whole
middleware chain and its view in one thread out of WEB_THREADS, which is free for the next one as soon as the view has
returned; a live response then goes on as a coroutine alone.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from io import BytesIO
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core import signals
from django.core.exceptions import RequestAborted
from django.core.handlers import asgi
from django.db import close_old_connections
from django.http import JsonResponse
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

from runs.api.streaming import LiveResponse
from runs.log import StreamCut

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: Ends a response that was begun without the mark of its end, so that the client knows that it was cut.
CUT = "deerflow.response.cut"


class BodyTooLarge(Exception):
    pass


class ASGIHandler(asgi.ASGIHandler):
    def __init__(self) -> None:
        super(asgi.ASGIHandler, self).__init__()
        self.load_middleware(is_async=False)
        self._threads = ThreadPoolExecutor(settings.WEB_THREADS, thread_name_prefix="web")

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        await self.handle(scope, receive, send)

    async def handle(self, scope: Any, receive: Receive, send: Send) -> None:
        try:
            body_file = await self.read_body(receive)
        except RequestAborted:
            return
        except BodyTooLarge:
            await self.send_response(JsonResponse({"detail": "The body is too large."}, status=413), send)
            return
        try:
            request, refusal = self.create_request(scope, body_file)
            if request is not None:
                # DRF takes a body whose length the client did not tell for none.
                request.META["CONTENT_LENGTH"] = str(body_file.getbuffer().nbytes)
            response: HttpResponseBase = refusal or await self._respond(request, scope)
            if not isinstance(response, LiveResponse):
                await self.send_response(response, send)
            response.close()
        finally:
            body_file.close()
        if isinstance(response, LiveResponse):
            start, parts = _start(response), response.parts
            # The parts may come for hours; what they were asked with need not stay so long.
            del request, refusal, body_file, response
            await self._send_live(start, parts, receive, send)

    async def read_body(self, receive: Receive) -> BytesIO:
        """Raises RequestAborted when the client leaves, BodyTooLarge."""
        body = BytesIO()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RequestAborted
            body.write(message.get("body", b""))
            if body.tell() > settings.MAX_BODY_BYTES:
                raise BodyTooLarge
            more = message.get("more_body", False)
        body.seek(0)
        return body

    async def _respond(self, request: Any, scope: Any) -> HttpResponseBase:
        return await sync_to_async(self._respond_in_thread, thread_sensitive=False, executor=self._threads)(
            request, scope
        )

    def _respond_in_thread(self, request: Any, scope: Any) -> HttpResponseBase:
        set_script_prefix(asgi.get_script_prefix(scope))
        signals.request_started.send(sender=self.__class__, scope=scope)
        try:
            response = self.get_response(request)
            response._handler_class = self.__class__  # type: ignore[attr-defined]
            return response
        finally:
            close_old_connections()

    async def _send_live(self, start: Message, parts: AsyncGenerator[bytes], receive: Receive, send: Send) -> None:
        """Send the parts as they come, until they end or the client leaves."""
        sending = asyncio.create_task(_send_parts(start, parts, send))
        leaving = asyncio.create_task(self.listen_for_disconnect(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, leaving):
                task.cancel()
            results = await asyncio.gather(sending, leaving, return_exceptions=True)
        if isinstance(results[0], Exception):
            raise results[0]


def _start(response: HttpResponseBase) -> Message:
    headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
    return {"type": "http.response.start", "status": response.status_code, "headers": headers}


async def _send_parts(start: Message, parts: AsyncGenerator[bytes], send: Send) -> None:
    async with aclosing(parts):
        await send(start)
        try:
            async for part in parts:
                if part:
                    await send({"type": "http.response.body", "body": part, "more_body": True})
        except StreamCut:
            await send({"type": CUT})
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})
