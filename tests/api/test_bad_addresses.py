"""Ids, queries, methods and hosts that nobody means."""

import pytest
from django.test import Client

from tests.api.routes import ROUTES, title
from tests.api.rows import fingerprint, ids_of, make_rows, unknown_ids
from tests.factories import make_run, make_thread, tenant_of

ODD_IDS = [
    "null",
    "undefined",
    "-1",
    "0",
    "9223372036854775808",
    "1e3",
    "%D9%A3",
    "%00",
    "%0d%0aX-Evil:%201",
    "%ff",
    "%F0%9F%92%A9",
    "..%5c..%5cetc",
    "..%2f..%2fetc%2fpasswd",
    "%7B01890a5d-ac96-774b-bcce-b302099a8057%7D",
    "01890A5D-AC96-774B-BCCE-B302099A8057",
    "01890a5dac96774bbcceb302099a8057",
    "urn:uuid:01890a5d-ac96-774b-bcce-b302099a8057",
    "01890a5d-ac96-774b-bcce-b302099a805",
    "01890a5d-ac96-774b-bcce-b302099a80577",
    "' OR 1=1--",
    "x" * 65,
    "x" * 10_000,
]
NAMES = ("thread_id", "run_id", "assistant_id", "cron_id")

thread_lists = pytest.mark.parametrize("name", ["limit", "offset"])


@pytest.fixture
def thread_path(alice, client):
    return f"/threads/{make_rows(alice, 'alice').thread.pk}"


@pytest.mark.parametrize("odd", ODD_IDS, ids=lambda odd: odd[:40])
def test_an_id_that_is_none_is_not_found(client, alice, engine, odd):
    known = ids_of(make_rows(alice, "alice"))
    before = fingerprint()
    for route in ROUTES:
        for name in NAMES:
            if f"{{{name}}}" not in route.path:
                continue
            path = route.address.replace(f"{{{name}}}", odd).format(**known)
            response = client.generic(
                route.method,
                path,
                b'{"assistant_id": "nobody", "checkpoint": {}}' if route.body else b"",
                content_type="application/json",
            )
            # A body is looked at before the row is: it is the same for everybody. What is no command is 400.
            assert response.status_code in ((400, 404, 422) if route.body else (404,)), title(route)
            assert len(response.content) < 4096
    assert fingerprint() == before


@pytest.mark.parametrize("odd", ["%00", "a%20b", "' OR 1=1--", "%F0%9F%92%A9", "x" * 256])
def test_a_checkpoint_id_that_is_none_is_not_looked_for(thread_path, client, engine, odd):
    response = client.get(f"{thread_path}/state/{odd}")
    assert (response.status_code, response.json()) == (404, {"detail": "Checkpoint not found."})
    assert engine.questions == []


@pytest.mark.parametrize("name", ["limit", "offset"])
@pytest.mark.parametrize(
    "value",
    ["-1", "--1", "1e3", "abc", "", "1.5", "\u0663", "\uff19", "0x10", " 1", "10000000000", str(2**63), "9" * 5000],
)
def test_a_number_in_a_query_that_is_none_or_too_large_is_named(client, thread_path, name, value):
    response = client.get(f"{thread_path}/runs", {name: value})
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["query", name]


def test_a_limit_of_none_is_refused(client, thread_path, engine):
    assert client.get(f"{thread_path}/runs", {"limit": "0"}).status_code == 422
    assert client.get(f"{thread_path}/history", {"limit": "0"}).status_code == 422
    assert client.get(f"{thread_path}/history", {"limit": "1001"}).status_code == 422
    assert engine.questions == []


@pytest.mark.parametrize(
    ("address", "query", "name"),
    [
        ("runs", "status=nope", "status"),
        ("runs", "status=", "status"),
        ("runs", "select=nope", "select"),
        ("runs", "select=run_id,nope", "select"),
        ("state", "subgraphs=maybe", "subgraphs"),
        ("state/abc", "subgraphs=2", "subgraphs"),
        ("runs/{run}/stream", "stream_mode=nope", "stream_mode"),
        ("runs/{run}/stream", "stream_mode=values,nope", "stream_mode"),
        ("runs/{run}/stream", "action=kill", "action"),
        ("runs/{run}/stream", "action=", "action"),
        ("runs/{run}/stream", "wait=maybe", "wait"),
        ("runs/{run}/stream", "cancel_on_disconnect=perhaps", "cancel_on_disconnect"),
        ("runs/{run}/join", "cancel_on_disconnect=perhaps", "cancel_on_disconnect"),
    ],
)
def test_a_query_that_says_nothing_known_is_named(client, alice, engine, address, query, name):
    rows = make_rows(alice, "alice")
    response = client.get(f"/threads/{rows.thread.pk}/{address.format(run=rows.run.pk)}?{query}")
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["query", name]
    assert engine.questions == []


@pytest.mark.parametrize("query", ["action=kill", "wait=maybe"])
def test_a_cancel_that_says_nothing_known_cancels_nothing(client, alice, query):
    run = make_run(tenant_of(alice))
    response = client.post(f"/threads/{run.thread_id}/runs/{run.pk}/cancel?{query}")
    assert response.status_code == 422
    run.refresh_from_db()
    assert run.status == "pending"


@pytest.mark.parametrize(
    "cursor",
    ["nope", "-2", "1e9", "1;2", "1,2", str(2**63), str(2**70), "9" * 8000, "1-0", "\uff10", "0x1", "--1", "1 2"],
    ids=lambda text: text[:20],
)
def test_a_cursor_that_is_no_id_of_an_event_is_refused(client, alice, cursor):
    rows = make_rows(alice, "alice")
    path = f"/threads/{rows.thread.pk}/runs/{rows.run.pk}/stream"
    for response in (client.get(path, {"last_event_id": cursor}), client.get(path, headers={"last-event-id": cursor})):
        assert response.status_code == 422
        assert response.json()["detail"][0]["loc"] == ["header", "Last-Event-ID"]


@pytest.mark.parametrize("cursor", ["", " ", "-1", "0", "0-0", "1", str(2**63 - 1)])
def test_a_cursor_may_lie_anywhere(client, alice, cursor):
    rows = make_rows(alice, "alice")
    response = client.get(f"/threads/{rows.thread.pk}/runs/{rows.run.pk}/stream", headers={"last-event-id": cursor})
    assert response.status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/threads/",
        "/threads//runs",
        "/threads/x/",
        "/Threads",
        "/api/api/threads",
        "/runs/x/y",
        "/nowhere",
        "/api/",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_address_that_is_none_is_answered_in_json(client, method, path):
    response = client.generic(method, path)
    assert (response.status_code, response.json()) == (404, {"detail": "Not Found"})


@pytest.mark.parametrize("route", ROUTES, ids=title)
def test_methods_that_an_address_does_not_have_are_answered_in_json(client, route):
    known = {route.method for route in ROUTES}
    here = {other.method for other in ROUTES if other.path == route.path}
    path = route.address.format(**unknown_ids())
    for method in (known | {"PUT", "TRACE", "PROPFIND"}) - here - {"GET"}:
        response = client.generic(method, path)
        assert response.status_code == 405
        assert set(response.json()) == {"detail"}
        assert here <= set(response.headers["Allow"].split(", "))


def test_a_method_is_not_overridden(client):
    response = client.post("/threads/search", {}, headers={"x-http-method-override": "DELETE"})
    assert response.status_code == 200
    thread_id = client.post("/threads", {}).json()["thread_id"]
    client.post(f"/threads/{thread_id}/history", {}, headers={"x-http-method-override": "DELETE"})
    assert client.get(f"/threads/{thread_id}").status_code == 200


@pytest.mark.parametrize("host", ["evil.example.org", "localhost.evil.org", "localhost:port", "", "a b", "[::1"])
def test_another_host_is_a_bad_request(client, host):
    response = client.get("/threads/x", headers={"host": host})
    assert (response.status_code, response.json()) == (400, {"detail": "Bad Request"})


def test_a_stream_is_served_whatever_a_client_accepts(client, alice):
    rows = make_rows(alice, "alice")
    path = f"/threads/{rows.thread.pk}/runs/{rows.run.pk}/stream"
    for accept in ("application/json", "text/event-stream", "*/*", "image/png", ""):
        response = client.get(path, headers={"accept": accept})
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"


@pytest.mark.parametrize(
    "path", ["/threads/{t}/runs/stream", "/threads/{t}/runs/wait", "/runs/stream", "/runs/wait", "/runs"]
)
def test_asking_for_the_head_of_a_new_run_starts_none(client, alice, path):
    thread = make_thread(tenant_of(alice))
    before = fingerprint()
    response = client.generic(
        "HEAD", path.format(t=thread.pk), b'{"assistant_id": "echo"}', content_type="application/json"
    )
    assert response.status_code == 405
    assert response.content == b""
    assert fingerprint() == before


@pytest.mark.parametrize("address", ["stream", "join", "stream?action=interrupt", "stream?action=interrupt&wait=1"])
def test_asking_for_the_head_of_a_stream_neither_waits_nor_cancels(client, alice, address):
    run = make_run(tenant_of(alice))
    before = fingerprint()
    response = client.head(f"/threads/{run.thread_id}/runs/{run.pk}/{address}")
    assert (response.status_code, response.streaming, response.content) == (200, False, b"")
    assert response.headers["Content-Location"] == f"/threads/{run.thread_id}/runs/{run.pk}"
    assert fingerprint() == before


def test_options_tell_a_caller_nothing_about_the_code(client):
    response = client.options("/threads")
    assert response.status_code == 403
    assert set(response.json()) == {"detail"}
    assert Client().options("/threads").status_code == 401
