"""Who may do what to whose rows: every route of the API, by everybody who is not their owner.

`ROUTES` has a row for each method of each address; a route without one fails `test_every_route_has_a_row`.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.test import APIClient
from rest_framework.views import APIView

from accounts.models import Organization, Role, User
from accounts.services import add_member, create_organization
from runs.identifiers import new_id
from runs.states import RunStatus
from tests.api.engine import DRAWING, ITEM, SCHEMAS, STATE, FakeEngine, installed
from tests.api.routes import ROUTES, bytes_of, send, title
from tests.api.rows import Rows, fingerprint, ids_of, make_rows, unknown_ids
from tests.factories import api_client, make_run, tenant_of

#: It stands in every field of Alice's rows.
CANARY = "canary-7f3d"

#: Addresses that are no part of the API: they are open to everybody, or have a sign-in of their own.
ELSEWHERE = {"", "ok", "info", "api/ok", "api/info", "metrics", "openapi.json", "docs", "admin"}
ELSEWHERE_BELOW = "admin/"

NAMING = [route for route in ROUTES if route.names_ids]
READS = {"threads:read", "runs:read"}


def urls(resolver: URLResolver, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for entry in resolver.url_patterns:
        path = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from urls(entry, path)
        else:
            yield path, entry


def methods(view: Any) -> list[str]:
    actions = getattr(view, "actions", None)
    if actions is not None:
        return [method.upper() for method in actions if method != "head"]
    cls: type[APIView] = view.cls
    return [method.upper() for method in cls.http_method_names if hasattr(cls, method) and method != "options"]


def test_every_route_has_a_row():
    found = set()
    for path, pattern in urls(get_resolver()):
        if path in ELSEWHERE or path.startswith(ELSEWHERE_BELOW):
            continue
        assert hasattr(pattern.callback, "cls"), f"{path} is not a view of the API: name it in ELSEWHERE"
        found |= {(method, path.replace("<str:", "{").replace(">", "}")) for method in methods(pattern.callback)}
    rows = {(route.method, f"{prefix[1:]}{route.path}") for route in ROUTES for prefix in route.prefixes}
    assert found == rows


@pytest.fixture(autouse=True)
def engine() -> Iterator[FakeEngine]:
    engine = FakeEngine()
    words = {**STATE, "values": {"word": CANARY}}
    schemas = {**SCHEMAS, "input_schema": {"title": CANARY}}
    engine.answers |= {"state": words, "history": [words]}
    engine.answers |= {"graph": {**DRAWING, "word": CANARY}, "schemas": schemas, "subgraphs": {CANARY: schemas}}
    item = {**ITEM, "value": {"word": CANARY}}
    engine.answers |= {"get_item": item, "search_items": {"items": [item]}}
    engine.answers |= {"list_namespaces": {"namespaces": [[CANARY]]}}
    with installed(engine):
        yield engine


@pytest.fixture
def private(alice: User, acme: Organization, graphs: object) -> Rows:
    return make_rows(alice, CANARY, shared=False)


@pytest.fixture
def shared(alice: User, acme: Organization, graphs: object) -> Rows:
    return make_rows(alice, CANARY, shared=True)


@pytest.fixture
def viewer(acme: Organization) -> User:
    user = User.objects.create_user("vera@acme.test")
    add_member(acme, user, Role.VIEWER)
    return user


each_route = pytest.mark.parametrize("route", ROUTES, ids=title)


@each_route
def test_nobody_is_answered_without_a_credential(private, route):
    before = fingerprint()
    for prefix in route.prefixes:
        response = send(APIClient(), route, ids_of(private), prefix)
        assert response.status_code == 401
        assert set(response.json()) == {"detail"}
    assert fingerprint() == before


@pytest.mark.parametrize("route", NAMING, ids=title)
def test_a_stranger_can_not_tell_somebody_elses_rows_from_none(private, charlie, route):
    client = api_client(charlie)
    before = fingerprint()
    for prefix in route.prefixes:
        response = send(client, route, ids_of(private), prefix)
        assert response.status_code == route.hidden
        assert bytes_of(response) == bytes_of(send(client, route, unknown_ids(), prefix))
    assert fingerprint() == before


@pytest.mark.parametrize("route", [route for route in NAMING if "{thread_id}" in route.path], ids=title)
def test_a_colleague_can_not_tell_a_private_thread_from_none(private, bob, route):
    client = api_client(bob)
    before = fingerprint()
    for prefix in route.prefixes:
        response = send(client, route, ids_of(private), prefix)
        assert response.status_code == route.hidden
        assert bytes_of(response) == bytes_of(send(client, route, unknown_ids(), prefix))
    assert fingerprint() == before


@each_route
def test_a_colleague_may_use_what_is_shared(shared, bob, route):
    assert send(api_client(bob), route, ids_of(shared)).status_code == route.shared


@each_route
def test_a_viewer_only_reads(shared, viewer, route):
    before = fingerprint()
    response = send(api_client(viewer), route, ids_of(shared))
    if route.needs in READS:
        assert response.status_code == 200
    else:
        assert response.status_code == 403
        assert route.needs in response.json()["detail"]
    assert fingerprint() == before


@pytest.mark.parametrize("query", ["action=interrupt", "action=interrupt&wait=1", "cancel_on_disconnect=1"])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("address", ["stream", "join"])
def test_a_viewer_can_not_cancel_by_reading(alice, shared, viewer, address, method, query):
    run = make_run(tenant_of(alice), shared.thread)
    response = api_client(viewer).generic(method, f"/threads/{run.thread_id}/runs/{run.pk}/{address}?{query}")
    if address == "join" and method == "POST":
        assert response.status_code == 405
    elif address == "join" and query != "cancel_on_disconnect=1":
        assert response.status_code == 200  # It knows no such parameter.
    else:
        assert response.status_code == 403
    run.refresh_from_db()
    assert (run.status, run.cancel_action) == (RunStatus.PENDING, "")


@each_route
def test_nothing_of_somebody_else_reaches_a_stranger(private, charlie, engine, route):
    """Their own rows are there, so searches and answers have something to show."""
    engine.answers |= FakeEngine().answers
    own = make_rows(charlie, "own")
    client = api_client(charlie)
    for prefix in route.prefixes:
        for ids in (ids_of(private), ids_of(private) | {"thread_id": own.thread.pk}, ids_of(own), unknown_ids()):
            assert CANARY.encode() not in bytes_of(send(client, route, ids, prefix))
    assert CANARY not in str(engine.questions) and private.thread.pk not in str(engine.questions)
    assert str(private.thread.owner_id) not in str(engine.questions)


@pytest.mark.parametrize("route", [route for route in ROUTES if route.needs in READS and route.shows], ids=title)
def test_the_canary_would_be_seen(private, alice, route):
    """Else the test before this one proved nothing."""
    response = send(api_client(alice), route, ids_of(private))
    if not response.streaming:
        assert CANARY.encode() in bytes_of(response)


@pytest.mark.parametrize("address", ["runs", "runs/stream", "runs/wait"])
def test_a_run_on_somebody_elses_thread_leaves_no_row(private, charlie, address):
    client = api_client(charlie)
    body = {"assistant_id": "echo", "input": {}}
    foreign = private.thread.pk
    before = fingerprint()
    for if_not_exists in ("create", "reject", None):
        by_path = client.post(f"/threads/{foreign}/{address}", body | {"if_not_exists": if_not_exists})
        assert (by_path.status_code, by_path.json()) == (404, {"detail": "Thread not found."})
        stateless = body | {"config": {"configurable": {"thread_id": foreign}}, "if_not_exists": if_not_exists}
        by_body = client.post(f"/{address}", stateless)
        assert (by_body.status_code, by_body.json()) == (404, {"detail": "Thread not found."})
    assert fingerprint() == before


@pytest.mark.parametrize("address", ["", "/join", "/stream", "/cancel"])
def test_somebody_elses_run_is_not_found_on_a_thread_of_ones_own(private, charlie, address):
    own = make_rows(charlie, "own")
    method = "POST" if address == "/cancel" else "GET"
    client = api_client(charlie)
    before = fingerprint()
    for thread, run in ((own.thread, private.run), (private.thread, own.run)):
        response = client.generic(method, f"/threads/{thread.pk}/runs/{run.pk}{address}")
        unknown = client.generic(method, f"/threads/{thread.pk}/runs/{new_id()}{address}")
        assert response.status_code == 404
        assert bytes_of(response) == bytes_of(unknown)
    assert fingerprint() == before


def test_a_checkpoint_of_another_thread_is_not_found(private, shared, alice, engine):
    client = api_client(alice)
    checkpoint = {"thread_id": private.thread.pk, "checkpoint_id": str(STATE["checkpoint_id"])}
    path = f"/threads/{shared.thread.pk}"
    assert client.post(f"{path}/state/checkpoint", {"checkpoint": checkpoint}).status_code == 404
    assert client.post(f"{path}/state", {"values": {}, "checkpoint": checkpoint}).status_code == 404
    assert client.post(f"{path}/history", {"checkpoint": checkpoint}).status_code == 404
    assert client.post(f"{path}/history", {"before": checkpoint}).status_code == 404
    run = client.post(f"{path}/runs", {"assistant_id": "echo", "checkpoint": checkpoint})
    assert run.json()["detail"][0]["loc"] == ["body", "checkpoint", "thread_id"]
    assert engine.questions == []


def test_an_id_that_somebody_has_is_taken_and_no_more_is_said(private, charlie):
    client = api_client(charlie)
    before = fingerprint()
    for if_exists in ("raise", "do_nothing"):
        thread = client.post("/threads", {"thread_id": private.thread.pk, "if_exists": if_exists})
        assert (thread.status_code, thread.json()) == (
            409,
            {"detail": f"Thread with ID {private.thread.pk} already exists"},
        )
        assistant_id = str(private.assistant.pk)
        assistant = client.post(
            "/assistants", {"graph_id": "echo", "assistant_id": assistant_id, "if_exists": if_exists}
        )
        assert (assistant.status_code, assistant.json()) == (
            409,
            {"detail": f"Assistant {assistant_id} already exists"},
        )
    assert fingerprint() == before


def test_a_search_filter_does_not_widen_what_is_seen(private, shared, charlie, bob):
    everything = [
        {},
        {"metadata": {"word": CANARY}},
        {"ids": [private.thread.pk, shared.thread.pk]},
        {"status": "idle"},
        {"sort_by": "created_at", "sort_order": "asc", "limit": 1000},
    ]
    for query in everything:
        assert api_client(charlie).post("/threads/search", query).json() == []
        found = api_client(bob).post("/threads/search", query).json()
        assert [thread["thread_id"] for thread in found] == [shared.thread.pk]


def test_an_owner_acts_in_the_selected_organization_only(private, alice, charlie):
    """Alice is a member of two organizations; a key of the second does not open the first."""
    elsewhere = create_organization("elsewhere", charlie)
    add_member(elsewhere, alice, Role.OWNER)
    alice.selected_organization = elsewhere
    alice.save()
    client = api_client(alice)
    assert client.get(f"/threads/{private.thread.pk}").status_code == 404
    assert client.get(f"/assistants/{private.assistant.pk}").status_code == 404
    assert client.get(f"/runs/crons/{private.cron.pk}").status_code == 404
    assert client.post("/threads/search", {}).json() == []
