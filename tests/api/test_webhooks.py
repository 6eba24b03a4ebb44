"""A run is created with the address that is told of its end, or refused because of it."""

import pytest

from runs.models import Delivery, Run, Thread, WebhookEndpoint
from tests.factories import WEBHOOK

BODY = {"assistant_id": "echo", "input": {"a": 1}}


@pytest.mark.parametrize("address", ["/runs", "/runs/wait", "/runs/stream", "/threads/{t}/runs"])
@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/", "http://2130706433/", "https://hooks.example.com:22/", "x", "", 1, ["x"], {"a": 1}]
)
def test_an_address_that_is_not_called_is_refused_by_the_fields_name(client, address, url):
    response = client.post(address.format(t="01890a5d-ac96-774b-bcce-b302099a8057"), BODY | {"webhook": url})
    assert response.status_code == 422
    assert {tuple(problem["loc"]) for problem in response.json()["detail"]} == {("body", "webhook")}
    assert not Run.objects.exists() and not Thread.objects.exists()


def test_one_of_a_batch_refuses_all(client):
    batch = [BODY | {"webhook": WEBHOOK}, BODY | {"webhook": "http://127.0.0.1/"}]
    assert client.post("/runs/batch", batch).status_code == 422
    assert not Run.objects.exists()


def test_an_address_that_is_gone_is_refused(client, acme):
    WebhookEndpoint.objects.create(organization=acme, url=WEBHOOK)
    response = client.post("/runs", BODY | {"webhook": WEBHOOK})
    assert response.status_code == 422
    assert "410" in response.json()["detail"][0]["msg"]


def test_whoever_cancels_it_before_it_began_has_the_address_told(client):
    run = client.post("/runs", BODY | {"webhook": WEBHOOK}).json()
    client.post(f"/runs/{run['run_id']}/cancel")
    assert [str(delivery.run_id) for delivery in Delivery.objects.filter(url=WEBHOOK)] == [run["run_id"]]
