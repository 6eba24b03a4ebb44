"""Bodies and queries that nobody wrote: no answer is a failure of the server, and a refusal writes nothing."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from runs.models import Assistant, Cron, EventChunk, Run, Thread
from runs.protocol.requests.base import Body
from tests.api.routes import ROUTES, Route, title
from tests.api.rows import Rows, ids_of, make_rows
from tests.factories import api_key_of

within_one_test = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def kinds_of(model: type[Body]) -> Iterator[type[Body]]:
    for kind in model.__subclasses__():
        yield kind
        yield from kinds_of(kind)


FIELDS = sorted({field for model in kinds_of(Body) for field in model.model_fields})

texts = st.text(st.characters(), max_size=20) | st.sampled_from(
    ["", "echo", "values", "*", "null", "'\"", "\0", "\ud800", "a" * 300, "2020-01-01", "true", "0", "interrupt", "asc"]
)
numbers = st.integers(-(2**65), 2**65) | st.floats() | st.sampled_from([0, -1, 1, 10, 2**31, 2**63, 1e308])
leaves = st.none() | st.booleans() | numbers | texts
names = st.sampled_from(FIELDS) | texts
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4), max_leaves=12
)
bodies = st.dictionaries(names, values, max_size=5) | values

BATCH = "runs/batch"
TAKING_BODIES = [route for route in ROUTES if route.method in ("POST", "PUT", "PATCH") or route.body is not None]


@pytest.fixture
def rows(alice: Any, client: Any, engine: Any) -> Rows:
    return make_rows(alice, "alice")


def count() -> list[int]:
    return [model._default_manager.count() for model in (Thread, Run, Assistant, Cron, EventChunk)]


@pytest.mark.parametrize("route", TAKING_BODIES, ids=title)
@within_one_test
@given(odd=bodies, on_top=st.booleans())
def test_no_body_is_a_failure_of_the_server(client: Any, rows: Rows, route: Route, odd: Any, on_top: bool) -> None:
    """Half of them are laid over a body that the route takes, to come past its required fields."""
    body = {**(route.body or {}), **odd} if on_top and isinstance(odd, dict) and route.path != BATCH else odd
    if on_top and route.path == BATCH:
        body = [{**route.body[0], **odd}] if isinstance(odd, dict) else [odd]
    before = count()
    path = route.address.format(**ids_of(rows))
    response = client.generic(route.method, path, json.dumps(body), content_type="application/json")
    assert response.status_code < 500
    if response.status_code >= 400:
        answer = response.json()
        detail = answer["message"] if answer.get("type") == "error" else answer["detail"]
        assert detail and isinstance(detail, str | list)
        assert count() == before


@within_one_test
@given(body=st.binary(max_size=60) | st.text(max_size=30).map(lambda text: text.encode("utf-16")))
def test_no_bytes_are_a_failure_of_the_server(client: Any, rows: Rows, body: bytes) -> None:
    response = client.generic("POST", "/threads/search", body, content_type="application/json")
    assert response.status_code in (200, 400, 422)


PARAMETERS = (
    "limit",
    "offset",
    "status",
    "select",
    "stream_mode",
    "action",
    "wait",
    "cancel_on_disconnect",
    "subgraphs",
    "xray",
    "recurse",
    "last_event_id",
    "namespace",
    "key",
    "refresh_ttl",
)
queries = st.dictionaries(
    st.sampled_from(PARAMETERS), st.text(max_size=20) | st.sampled_from(["--1", "-", "+1", "1_0", "²"]), max_size=3
)


@within_one_test
@given(route=st.sampled_from([route for route in ROUTES if route.method == "GET"]), query=queries)
def test_no_query_is_a_failure_of_the_server(client: Any, rows: Rows, route: Route, query: dict[str, str]) -> None:
    response = client.get(route.address.format(**ids_of(rows)), query)
    assert response.status_code in (200, 204, 404, 409, 422)


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
application = get_wsgi_application()
described = schemathesis.openapi.from_wsgi("/openapi.json", application)


@pytest.fixture
def connection_kept() -> Iterator[None]:
    """A whole application closes its connection after each request, and with it the test's transaction."""
    moments = (request_started, request_finished)
    for moment in moments:
        moment.disconnect(close_old_connections)
    yield
    for moment in moments:
        moment.connect(close_old_connections)


def operations() -> list[Any]:
    """All but those that wait for runs, which nobody would start or end."""
    found = [result.ok() for result in described.get_all_operations()]
    return [
        operation for operation in found if not operation.path.endswith(("/stream", "/stream/events", "/wait", "/join"))
    ]


@pytest.mark.usefixtures("connection_kept")
@pytest.mark.parametrize("operation", operations(), ids=lambda operation: f"{operation.method} {operation.path}")
def test_answers_are_as_the_description_says(alice: Any, rows: Rows, operation: Any) -> None:
    key = api_key_of(alice)
    known = ids_of(rows)
    words = {part for route in ROUTES for part in route.path.split("/")}

    @settings(within_one_test, max_examples=8)
    @given(case=operation.as_strategy(), real=st.booleans())
    def answers(case: Any, real: bool) -> None:
        if real:
            case.path_parameters = {name: known[name] for name in case.path_parameters}
        assume(words.isdisjoint(case.path_parameters.values()))  # That would be another address.
        case.call_and_validate(headers={"X-Api-Key": key}, checks=CHECKS)

    answers()
