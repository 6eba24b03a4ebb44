"""Threads at the edge: made, got and changed with all that clients may say of them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from django.db import connections

from runs.models import Thread
from tests.api.problems import locs, named
from tests.api.rows import fingerprint
from tests.factories import api_client, api_key_of, make_thread, tenant_of


def times(thread):
    return {key: datetime.fromisoformat(thread[key]) for key in ("created_at", "updated_at", "state_updated_at")}


def test_a_thread_has_a_title(client, alice):
    assert client.post("/threads", {}).json()["title"] == ""
    thread = make_thread(tenant_of(alice), title="About cats")
    assert client.get(f"/threads/{thread.pk}").json()["title"] == "About cats"
    found = client.post("/threads/search", {"select": ["title"], "ids": [thread.pk]}).json()
    assert found == [{"title": "About cats"}]


def test_below_api_a_thread_that_is_made_again_is_answered_unless_the_client_forbids_it(client):
    made = client.post("/api/threads", {"thread_id": "mine", "metadata": {"a": 1}})
    again = client.post("/api/threads", {"thread_id": "mine", "metadata": {"a": 2}})
    assert (again.status_code, again.json()) == (200, made.json())
    assert client.post("/api/threads", {"thread_id": "mine", "if_exists": "raise"}).status_code == 409
    assert client.post("/threads", {"thread_id": "mine"}).status_code == 409


@pytest.mark.parametrize("if_exists", [None, "raise", "do_nothing"])
@pytest.mark.parametrize("prefix", ["", "/api"])
def test_an_id_that_somebody_else_has_is_taken_and_nothing_of_theirs_is_told(
    client, alice, bob, charlie, prefix, if_exists
):
    make_thread(tenant_of(alice), thread_id="hers", metadata={"secret": "s3cret"})
    for stranger in (bob, charlie):
        response = api_client(stranger).post(f"{prefix}/threads", {"thread_id": "hers", "if_exists": if_exists})
        assert (response.status_code, response.json()) == (409, {"detail": "Thread with ID hers already exists"})


def test_an_assistant_that_is_named_is_kept_in_the_metadata(client):
    made = client.post("/api/threads", {"assistant_id": "lead_agent", "metadata": {"a": 1}}).json()
    assert made["metadata"] == {"a": 1, "assistant_id": "lead_agent"}


def test_nobody_says_whose_a_thread_is(client):
    owners = {"user_id": "x", "owner_id": "y"}
    made = client.post("/threads", {"metadata": {"a": 1, **owners}}).json()
    changed = client.patch(f"/threads/{made['thread_id']}", {"metadata": {"b": 2, **owners}}).json()
    assert (made["metadata"], changed["metadata"]) == ({"a": 1}, {"a": 1, "b": 2})
    assert Thread.objects.get().metadata == {"a": 1, "b": 2}


def test_a_graph_that_is_named_in_the_metadata_is_the_threads(client, engine):
    path = f"/threads/{client.post('/threads', {'metadata': {'graph_id': 'echo'}}).json()['thread_id']}"
    assert client.post(f"{path}/state", {"values": {"a": 1}}).status_code == 200
    assert engine.questions[-1][1]["graph_id"] == "echo"
    unknown = client.post("/threads", {"metadata": {"graph_id": "nowhere"}}).json()
    assert unknown["metadata"] == {"graph_id": "nowhere"}
    assert client.get(f"/threads/{unknown['thread_id']}/state").json()["values"] == {}


@pytest.mark.parametrize("ttl", [30, 0.5, {"ttl": 30}, {"ttl": 30.5, "strategy": "keep_latest"}])
def test_a_lifetime_is_set_when_a_thread_is_made_or_changed(client, ttl):
    made = client.post("/threads", {"ttl": ttl}).json()
    later = client.post("/threads", {}).json()
    assert "ttl" not in made
    client.patch(f"/threads/{later['thread_id']}", {"ttl": ttl})
    minutes = ttl["ttl"] if isinstance(ttl, dict) else ttl
    for thread_id in (made["thread_id"], later["thread_id"]):
        shown = client.get(f"/threads/{thread_id}?include=ttl").json()
        lifetime = shown["ttl"]
        assert lifetime["ttl_minutes"] == minutes
        assert lifetime["strategy"] == (ttl.get("strategy", "delete") if isinstance(ttl, dict) else "delete")
        ends = datetime.fromisoformat(lifetime["expires_at"])
        assert ends - times(shown)["updated_at"] == timedelta(minutes=minutes)
        assert Thread.objects.get(pk=thread_id).expires_at == ends


def test_a_thread_without_a_lifetime_has_none(client):
    path = f"/threads/{client.post('/threads', {}).json()['thread_id']}"
    assert client.get(f"{path}?include=ttl").json()["ttl"] is None
    assert locs(client.get(f"{path}?include=secrets")) == [["query", "include"]]


@pytest.mark.parametrize(
    "ttl", [0, -1, "5", True, [], {}, {"ttl": 0}, {"ttl": 1, "strategy": "keep"}, {"ttl": 1, "more": 1}, 10**12, 1e300]
)
@pytest.mark.parametrize("method", ["post", "patch"])
def test_a_lifetime_that_can_not_be_is_refused(client, alice, method, ttl):
    thread = make_thread(tenant_of(alice))
    before = fingerprint()
    response = getattr(client, method)("/threads" if method == "post" else f"/threads/{thread.pk}", {"ttl": ttl})
    assert response.status_code == 422
    assert named(response, "body", "ttl")
    assert fingerprint() == before


def test_a_pin_does_not_make_a_thread_newer_and_other_changes_do(client):
    made = client.post("/threads", {}).json()
    path = f"/threads/{made['thread_id']}"
    for pinned in (True, False):
        changed = client.patch(path, {"metadata": {"deerflow_pinned": pinned}}).json()
        assert changed["metadata"] == {"deerflow_pinned": pinned}
        assert changed["updated_at"] == made["updated_at"]
        assert Thread.objects.get().pinned is pinned
    for change in ({"metadata": {"deerflow_pinned": True, "a": 1}}, {"metadata": {"a": 2}}, {"ttl": 5}):
        changed = client.patch(path, change).json()
        assert times(changed)["updated_at"] > times(made)["updated_at"]
        assert Thread.objects.get().pinned is True
        made = changed
    assert client.patch(path, {}).json() == client.patch(path, {"metadata": {}}).json() == made


@pytest.mark.parametrize("value", ["yes", 1, None, {}])
def test_what_is_not_true_pins_nothing(client, value):
    client.post("/threads", {"metadata": {"deerflow_pinned": value}})
    assert Thread.objects.get().pinned is False


def test_a_thread_is_pinned_from_the_beginning(client):
    client.post("/threads", {"metadata": {"deerflow_pinned": True}})
    assert Thread.objects.get().pinned is True


@pytest.mark.django_db(transaction=True)
def test_of_many_who_make_one_thread_at_once_each_is_answered_with_the_same(client, alice):
    key = api_key_of(alice)

    def make(prefix):
        try:
            response = type(client)(headers={"x-api-key": key}).post(f"{prefix}/threads", {"thread_id": "one"})
            return response.status_code, response.json()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(make, ["/api"] * 20))
    assert [status for status, _ in answers] == [200] * 20
    assert all(thread == answers[0][1] for _, thread in answers)
    with ThreadPoolExecutor(4) as threads:
        assert [status for status, _ in threads.map(make, [""] * 4)] == [409] * 4
    assert Thread.objects.count() == 1
