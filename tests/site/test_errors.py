import logging

import pytest
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path

from deerflow_site.logs import WithoutClientErrorTracebacks
from deerflow_site.urls import handler400, handler403, handler404, handler500  # noqa: F401  Django reads them here


def fail(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("the password is hunter2")


def suspect(request: HttpRequest) -> HttpResponse:
    raise SuspiciousOperation("the password is hunter2")


def forbid(request: HttpRequest) -> HttpResponse:
    raise PermissionDenied("the password is hunter2")


urlpatterns = [
    *(path(f"{prefix}fail", fail) for prefix in ("", "console/")),
    *(path(f"{prefix}suspect", suspect) for prefix in ("", "console/")),
    *(path(f"{prefix}forbid", forbid) for prefix in ("", "console/")),
]

ANSWERS = [
    ("fail", 500, "Internal Server Error"),
    ("suspect", 400, "Bad Request"),
    ("forbid", 403, "Forbidden"),
    ("nowhere", 404, "Not Found"),
]


@pytest.fixture
def client():
    with override_settings(ROOT_URLCONF=__name__):
        yield Client(raise_request_exception=False)


@pytest.mark.parametrize(("name", "status", "sentence"), ANSWERS)
def test_the_api_answers_errors_in_json(client, name, status, sentence):
    response = client.get(f"/{name}")
    assert response.status_code == status
    assert response.json() == {"detail": sentence}


@pytest.mark.parametrize(("name", "status", "sentence"), ANSWERS)
def test_people_get_a_page(client, name, status, sentence):
    response = client.get(f"/console/{name}")
    assert response.status_code == status
    assert response.headers["Content-Type"].startswith("text/html")
    assert b"hunter2" not in response.content


def test_an_unknown_host_is_a_bad_request(client):
    response = client.get("/nowhere", headers={"host": "evil.example.org"})
    assert (response.status_code, response.json()) == (400, {"detail": "Bad Request"})


@pytest.mark.parametrize(("name", "status", "sentence"), ANSWERS)
def test_only_server_errors_are_logged_with_a_traceback(client, caplog, name, status, sentence):
    client.get(f"/{name}")
    (record,) = [record for record in caplog.records if record.name.startswith("django.")]
    assert WithoutClientErrorTracebacks().filter(record)
    assert bool(record.exc_info) is (status >= 500)
    assert record.levelno == (logging.ERROR if status >= 500 else logging.WARNING)
