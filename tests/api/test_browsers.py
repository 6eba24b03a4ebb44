"""What browsers and caches are told."""

import pytest
from django.test import Client


@pytest.mark.parametrize("path", ["/threads/search", "/api/runs/stream"])
def test_a_preflight_lets_clients_of_the_browser_pass(path):
    response = Client().options(
        path,
        headers={
            "origin": "http://localhost:3000",
            "access-control-request-method": "POST",
            "access-control-request-headers": "content-type,x-api-key,last-event-id,prefer,authorization",
        },
    )
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
    allowed = {name.strip() for name in response.headers["Access-Control-Allow-Headers"].split(",")}
    assert {"content-type", "x-api-key", "authorization", "last-event-id", "prefer"} <= allowed
    assert {"GET", "POST", "PATCH", "DELETE"} <= set(response.headers["Access-Control-Allow-Methods"].split(", "))


@pytest.mark.parametrize("path", ["/assistants/echo", "/threads/unknown"])
def test_a_page_of_another_origin_may_read_the_headers(client, path):
    response = client.get(path, headers={"origin": "http://localhost:3000"})
    exposed = {name.strip() for name in response.headers["Access-Control-Expose-Headers"].split(",")}
    assert {"content-location", "location", "x-pagination-total", "x-pagination-next"} <= exposed
    assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example.org",
        "http://localhost.evil.org",
        "http://evil-localhost",
        "null",
        "http://localhost:3000/x",
    ],
)
def test_another_origin_is_not_let_in(client, origin):
    response = client.get("/assistants/echo", headers={"origin": origin})
    assert "Access-Control-Allow-Origin" not in response.headers


def test_answers_are_not_for_caches(client):
    for response in (client.get("/assistants/echo"), client.get("/threads/x"), client.post("/threads", {})):
        assert response.headers["Cache-Control"] == "no-store"
