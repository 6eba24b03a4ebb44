"""The ASGI handler: a live response holds no thread and no connection, and ends when its reader has gone."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.signals import request_finished
from django.db import connections
from django.db.backends.signals import connection_created
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from accounts.models import User
from deerflow_site.handler import CUT, ASGIHandler
from runs.api.streaming import LiveResponse
from runs.log import StreamCut
from tests.fakes import heard

pytestmark = pytest.mark.django_db(transaction=True)

DISCONNECT = {"type": "http.disconnect"}


class Source:
    """What live responses send: whatever is put here; None ends one of them."""

    def __init__(self) -> None:
        self.parts: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self.closed = 0

    async def read(self) -> AsyncIterator[bytes]:
        try:
            yield b"first"
            while (part := await self.parts.get()) is not None:
                if isinstance(part, Exception):
                    raise part
                yield part
        finally:
            self.closed += 1


source: Source


@csrf_exempt
def live(request: HttpRequest) -> LiveResponse:
    return LiveResponse(source.read(), headers={"X-Users": str(User.objects.count())})


@csrf_exempt
def plain(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"thread": threading.current_thread().name, "size": len(request.body)})


urlpatterns = [path("live", live), path("plain", plain)]


@pytest.fixture(autouse=True)
def fresh_source(settings: LazySettings) -> None:
    global source
    source = Source()
    settings.ROOT_URLCONF = __name__
    settings.WEB_THREADS = 1


@pytest.fixture
def handler(fresh_source: None) -> Iterator[ASGIHandler]:
    handler = ASGIHandler()
    yield handler
    handler._threads.submit(connections.close_all).result()
    handler._threads.shutdown()


class Exchange:
    """One request and what is sent for it."""

    def __init__(self, handler: ASGIHandler, path: str, *received: dict[str, Any]) -> None:
        self.sent: list[dict[str, Any]] = []
        self.received: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for message in received or ({"type": "http.request", "body": b"", "more_body": False},):
            self.received.put_nowait(message)
        self._changed = asyncio.Condition()
        #: Whether the client takes what is sent.
        self.reading = asyncio.Event()
        self.reading.set()
        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "query_string": b"",
            "headers": [(b"host", b"localhost")],
        }
        self.task = asyncio.create_task(handler(scope, self.received.get, self._send))

    async def _send(self, message: dict[str, Any]) -> None:
        async with self._changed:
            self.sent.append(message)
            self._changed.notify_all()
        await self.reading.wait()

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    async def has_sent(self, part: bytes) -> None:
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: part in self.body)

    async def over(self) -> "Exchange":
        await asyncio.wait_for(self.task, 10)
        return self


async def test_parts_are_sent_as_they_come_and_the_end_is_marked(handler: ASGIHandler) -> None:
    exchange = Exchange(handler, "/live")
    await exchange.has_sent(b"first")
    for part in (b"", b"second", None):
        source.parts.put_nowait(part)
    await exchange.over()
    start, *parts = exchange.sent
    assert (start["type"], start["status"]) == ("http.response.start", 200)
    assert (b"X-Users", b"0") in start["headers"]
    assert [(part["body"], part["more_body"]) for part in parts] == [(b"first", True), (b"second", True), (b"", False)]
    assert source.closed == 1


async def test_live_responses_hold_no_thread_and_no_connection(handler: ASGIHandler) -> None:
    with heard(connection_created) as created:
        streams = [Exchange(handler, "/live") for _ in range(30)]
        for stream in streams:
            await stream.has_sent(b"first")
        others = [await Exchange(handler, "/plain").over() for _ in range(2)]
    assert len(created) <= 1
    assert len({other.body for other in others}) == 1
    assert sum(thread.name.startswith("web") for thread in threading.enumerate()) == 1
    for stream in streams:
        stream.received.put_nowait(DISCONNECT)
        await stream.over()


async def test_a_reader_that_leaves_ends_its_response_at_once(handler: ASGIHandler) -> None:
    with heard(request_finished) as finished:
        exchange = Exchange(handler, "/live")
        await exchange.has_sent(b"first")
        assert not source.closed
        exchange.received.put_nowait(DISCONNECT)
        await exchange.over()
    assert source.closed == 1 and len(finished) == 1
    assert exchange.sent[-1]["more_body"]


async def test_a_reader_that_takes_nothing_any_more_and_leaves_ends_its_response_too(handler: ASGIHandler) -> None:
    exchange = Exchange(handler, "/live")
    await exchange.has_sent(b"first")
    exchange.reading.clear()
    source.parts.put_nowait(b"second")
    await exchange.has_sent(b"second")
    exchange.received.put_nowait(DISCONNECT)
    await exchange.over()
    assert source.closed == 1


async def test_a_reader_that_left_before_the_answer_ends_it_too(handler: ASGIHandler) -> None:
    exchange = Exchange(handler, "/live", {"type": "http.request"}, DISCONNECT)
    await exchange.over()
    assert source.closed == 1


async def test_a_cut_stream_does_not_look_complete(handler: ASGIHandler) -> None:
    exchange = Exchange(handler, "/live")
    source.parts.put_nowait(StreamCut())
    await exchange.over()
    assert exchange.sent[-1] == {"type": CUT}
    assert all(message.get("more_body", True) for message in exchange.sent)
    assert source.closed == 1


async def test_a_stream_that_fails_does_not_look_complete(handler: ASGIHandler) -> None:
    exchange = Exchange(handler, "/live")
    source.parts.put_nowait(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await exchange.over()
    assert all(message.get("more_body", True) for message in exchange.sent)
    assert source.closed == 1


def body(*parts: bytes) -> list[dict[str, Any]]:
    """The messages of a body that comes in these parts."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    return [*messages, {"type": "http.request", "body": b"", "more_body": False}]


@pytest.mark.parametrize("parts", [[b"x" * 11], [b"x" * 5, b"x" * 5, b"x"], [b"x"] * 11])
async def test_a_body_that_is_too_large_is_not_read_to_its_end(
    handler: ASGIHandler, settings: LazySettings, parts: list[bytes]
) -> None:
    settings.MAX_BODY_BYTES = 10
    exchange = await Exchange(handler, "/plain", *body(*parts), {"type": "http.request", "more_body": True}).over()
    assert exchange.status == 413
    assert exchange.body == b'{"detail": "The body is too large."}'
    assert exchange.received.qsize() == 2


async def test_a_body_may_be_as_large_as_allowed(handler: ASGIHandler, settings: LazySettings) -> None:
    settings.MAX_BODY_BYTES = 10
    exchange = await Exchange(handler, "/plain", *body(b"x" * 5, b"x" * 5)).over()
    assert (exchange.status, b'"size": 10' in exchange.body) == (200, True)


async def test_a_request_that_is_broken_off_is_not_answered(handler: ASGIHandler) -> None:
    exchange = await Exchange(handler, "/plain", *body(b"x")[:1], DISCONNECT).over()
    assert exchange.sent == []
