"""Requests as the server's own handler takes them: whole bodies, heads, streams, odd lines."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from django.conf import settings as site
from django.db import connections

from accounts.models import User
from deerflow_site.handler import ASGIHandler
from tests.api.rows import Rows, fingerprint, make_rows
from tests.factories import api_key_of, make_run, tenant_of

pytestmark = pytest.mark.django_db(transaction=True)

Http = Callable[..., httpx.Response]


@pytest.fixture
def rows(alice: User, acme: object, graphs: object) -> Rows:
    return make_rows(alice, "word", shared=True)


@pytest.fixture
def http(alice: User, rows: Rows, settings: Any) -> Iterator[Http]:
    """Send a request of Alice's, or of nobody's, and wait for the end of the answer."""
    settings.WEB_THREADS = 1
    handler = ASGIHandler()
    key = api_key_of(alice)

    def send(method: str, path: str, *, anonymous: bool = False, **kwargs: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(handler)
            headers = {} if anonymous else {"x-api-key": key}
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
                return await asyncio.wait_for(client.request(method, path, **kwargs), 20)

        return asyncio.run(send())

    yield send
    handler._threads.submit(connections.close_all).result()
    handler._threads.shutdown()


@pytest.mark.parametrize("anonymous", [True, False])
@pytest.mark.parametrize("path", ["/threads", "/runs/stream", "/nowhere"])
def test_a_body_that_is_too_large_is_refused_before_anything_else(http: Http, path: str, anonymous: bool) -> None:
    before = fingerprint()
    body = b" " * (site.MAX_BODY_BYTES + 1)
    response = http("POST", path, content=body, headers={"content-type": "application/json"}, anonymous=anonymous)
    assert (response.status_code, response.json()) == (413, {"detail": "The body is too large."})
    assert fingerprint() == before


def test_the_largest_body_is_taken(http: Http) -> None:
    text = "x" * (site.MAX_BODY_BYTES - 100)
    assert http("POST", "/threads", json={"metadata": {"text": text}}).json()["metadata"] == {"text": text}


def test_a_body_without_a_length_is_taken(http: Http) -> None:
    async def pieces() -> Any:
        for piece in (b'{"metadata":', b' {"a": 1}}'):
            yield piece

    response = http("POST", "/threads", content=pieces(), headers={"content-type": "application/json"})
    assert response.json()["metadata"] == {"a": 1}


@pytest.mark.parametrize("address", ["stream", "join"])
def test_the_head_of_a_stream_comes_at_once_and_alone(http: Http, alice: User, address: str) -> None:
    run = make_run(tenant_of(alice))
    before = fingerprint()
    response = http("HEAD", f"/threads/{run.thread_id}/runs/{run.pk}/{address}?cancel_on_disconnect=1")
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["location"].endswith(f"/{address}")
    assert fingerprint() == before


def test_a_colleague_reads_the_stream_of_a_shared_thread(http: Http, rows: Rows, bob: User) -> None:
    path = f"/threads/{rows.thread.pk}/runs/{rows.run.pk}/stream"
    streams = [
        http("GET", path, headers={"x-api-key": api_key_of(bob)}),
        http("GET", path),
        http("POST", f"/api{path}"),
    ]
    whole = b'event: values\r\ndata: {"word":"word"}\r\nid: 1\r\n\r\nevent: end\r\ndata: null\r\nid: 2\r\n\r\n'
    assert [stream.content for stream in streams] == [whole] * 3
    assert http("GET", path, headers={"last-event-id": "1"}).content == whole.partition(b"id: 1\r\n\r\n")[2]


def test_a_failed_run_is_joined_with_its_error(http: Http, rows: Rows) -> None:
    joined = http("GET", f"/threads/{rows.thread.pk}/runs/{rows.run.pk}/join").json()
    assert joined == {"__error__": {"error": "word", "message": "word"}, "status": "error", "error": "word"}


@pytest.mark.parametrize("path", ["//threads", "/threads//", "/threads/%2e%2e/x", "/%ff", "/%00"])
def test_an_address_that_is_none_is_answered_in_json(http: Http, path: str) -> None:
    response = http("GET", f"http://localhost{path}")
    assert response.status_code == 404
    assert set(response.json()) == {"detail"}


def test_a_method_is_known_in_any_case(http: Http) -> None:
    assert http("get", "/assistants/echo").status_code == 200
    assert http("TRACE", "/assistants/echo").status_code == 405


def test_many_headers_do_not_stop_an_answer(http: Http) -> None:
    many = [("x-many", "1")] * 10_000
    assert http("GET", "/assistants/echo", headers=many).status_code == 200
    assert http("GET", "/assistants/echo", headers={"x-long": "1" * 100_000}).status_code == 200


def test_bytes_in_headers_are_no_failure(http: Http) -> None:
    for name in ("accept", "prefer", "last-event-id", "accept-language", "cookie", "authorization"):
        response = http("GET", "/assistants/echo", headers=[(name.encode(), b"\xff\x00\x80'\"")])
        assert response.status_code == 200, name
