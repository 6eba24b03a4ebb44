"""The description of the API: complete, valid, and without a warning."""

import pytest
from django.conf import settings
from django.test import Client
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema

from accounts.urls import urlpatterns as account_patterns
from runs.api.urls import urlpatterns as api_patterns
from runs.protocol.requests.assistants import AssistantSearch
from runs.protocol.requests.runs import RunRequest
from runs.protocol.requests.threads import ThreadSearch
from tests.api.routes import ROUTES, title

SECURITY = [{"apiKey": []}, {"bearer": []}]


@pytest.fixture(scope="module")
def schema():
    return Client().get("/openapi.json").json()


def test_it_is_made_without_a_warning_and_valid(capsys):
    GENERATOR_STATS.reset()
    validate_schema(SchemaGenerator().get_schema(request=None, public=True))
    assert not GENERATOR_STATS
    assert capsys.readouterr().err == ""


def test_it_is_open_to_everybody(schema):
    assert schema["openapi"] == "3.1.0"
    assert schema["components"]["securitySchemes"]["apiKey"] == {"type": "apiKey", "in": "header", "name": "X-Api-Key"}
    assert schema["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


def component(schema, reference):
    return schema["components"]["schemas"][reference["$ref"].rpartition("/")[2]]


@pytest.mark.parametrize("route", ROUTES, ids=title)
def test_every_route_is_described(schema, route):
    operation = schema["paths"][route.address][route.method.lower()]
    assert operation["summary"]
    assert operation["security"] == SECURITY
    assert {"401", "403"} < set(operation["responses"])
    assert any(status.startswith("2") for status in operation["responses"])
    if route.method in ("POST", "PUT", "PATCH"):
        (media_type,) = operation["requestBody"]["content"]
        taken = component(schema, operation["requestBody"]["content"][media_type]["schema"])
        assert media_type == "application/json"
        taken = component(schema, taken["items"]) if taken["type"] == "array" else taken
        # Records of the Agent Streaming Protocol are extensible.
        assert taken.get("additionalProperties") is (None if route.is_command else False)
        assert {"400", "413", "415", "422"} <= set(operation["responses"])
    if "{thread_id}" in route.path and route.hidden == 404:
        assert "404" in operation["responses"]


def test_everything_that_is_served_is_described_and_nothing_else(schema):
    described = {(method.upper(), path[1:]) for path, operations in schema["paths"].items() for method in operations}
    served = {
        (method.upper(), str(pattern.pattern).replace("<str:", "{").replace(">", "}"))
        for pattern in api_patterns
        for method in pattern.callback.actions
        if method != "head"
    }
    served |= {("POST", f"api/v1/{pattern.pattern}") for pattern in account_patterns}
    assert described == served | {("GET", "ok"), ("GET", "info")}
    assert served == {(route.method, route.address[1:]) for route in ROUTES}


def test_what_is_open_to_everybody_needs_no_credential(schema):
    for path in ("/ok", "/info"):
        assert "security" not in schema["paths"][path]["get"] or schema["paths"][path]["get"]["security"] == [{}]


def test_every_operation_has_a_name_of_its_own(schema):
    names = [operation["operationId"] for path in schema["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("path", ["/threads/{thread_id}/runs/stream", "/threads/{thread_id}/runs/{run_id}/stream"])
def test_streams_are_described_as_streams(schema, path):
    for operation in schema["paths"][path].values():
        assert set(operation["responses"]["200"]["content"]) == {"text/event-stream"}
        assert {"Content-Location", "Location"} == set(operation["responses"]["200"]["headers"])


@pytest.mark.parametrize("model", [ThreadSearch, AssistantSearch])
def test_what_may_be_asked_for_stands_in_it(schema, model):
    described = schema["components"]["schemas"][model.__name__]["properties"]
    assert set(described) == set(model.model_fields)
    assert (described["limit"]["minimum"], described["limit"]["maximum"]) == (1, 1000)


def test_docstrings_stay_in_the_code(schema):
    assert not any("description" in operation for path in schema["paths"].values() for operation in path.values())


def test_the_reference_names_every_address_and_what_it_needs():
    page = (settings.BASE_DIR / "docs" / "reference" / "api.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    for route in ROUTES:
        (row,) = [row for row in rows if row.startswith(f"| `{route.method} {route.address}` |")]
        assert f"| `{route.needs}` |" in row


def test_the_reference_names_every_field_of_a_run():
    page = (settings.BASE_DIR / "docs" / "reference" / "api.md").read_text()
    assert [field for field in RunRequest.model_fields if f"`{field}`" not in page] == []
