"""Assistants and threads as clients of LangGraph servers know them, at both addresses."""

import uuid
from datetime import datetime

import pytest

from runs.api import schema
from tests.api.rows import make_rows

ECHO = uuid.uuid5(uuid.UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8"), "echo")


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_an_assistant_has_its_keys(client, prefix):
    assistant = client.post(f"{prefix}/assistants", {"graph_id": "echo", "name": "mine", "metadata": {"a": 1}}).json()
    schema.Assistant.model_validate(assistant)
    assert assistant | {"name": "mine", "version": 1, "metadata": {"a": 1}, "config": {}, "context": {}} == assistant
    assert client.get(f"{prefix}/assistants/{assistant['assistant_id']}").json() == assistant
    assert assistant in client.post(f"{prefix}/assistants/search", {}).json()


def test_the_systems_assistant_is_found_by_its_graph(client):
    by_name = client.get("/assistants/echo").json()
    assert by_name["assistant_id"] == str(ECHO)
    assert by_name == client.get(f"/assistants/{ECHO}").json()
    assert by_name["metadata"] == {"created_by": "system"}


def test_an_assistant_that_exists_is_answered_or_refused(client):
    made = client.post(
        "/assistants", {"graph_id": "echo", "assistant_id": "01890a5d-ac96-774b-bcce-b302099a8057"}
    ).json()
    again = {"graph_id": "stress", "assistant_id": made["assistant_id"]}
    assert client.post("/assistants", again).status_code == 409
    assert client.post("/assistants", again | {"if_exists": "raise"}).status_code == 409
    assert client.post("/assistants", again | {"if_exists": "do_nothing"}).json() == made


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_a_thread_has_its_keys(client, prefix):
    thread = client.post(f"{prefix}/threads", {"metadata": {"a": 1}}).json()
    schema.Thread.model_validate(thread)
    assert thread | {"status": "idle", "values": None, "interrupts": {}, "config": {}, "error": None} == thread
    assert datetime.fromisoformat(thread["created_at"]).tzinfo
    assert client.get(f"{prefix}/threads/{thread['thread_id']}").json() == thread
    assert client.post(f"{prefix}/threads/search", {}).json() == [thread]


def test_a_thread_with_everything_in_it_has_its_keys(client, alice):
    thread = make_rows(alice, "word").thread
    shown = schema.Thread.model_validate(client.get(f"/threads/{thread.pk}").json())
    assert shown.interrupts == {"task": [{"word": "word"}]}
    assert shown.error == {"error": "word", "message": "word"}


def test_a_thread_that_exists_is_answered_or_refused(client):
    made = client.post("/threads", {"thread_id": "mine", "metadata": {"a": 1}}).json()
    assert made["thread_id"] == "mine"
    again = client.post("/threads", {"thread_id": "mine"})
    assert (again.status_code, again.json()) == (409, {"detail": "Thread with ID mine already exists"})
    assert client.post("/threads", {"thread_id": "mine", "if_exists": "do_nothing"}).json() == made


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_a_patch_merges_key_by_key(client, prefix):
    path = f"{prefix}/threads/{client.post('/threads', {'metadata': {'a': 1, 'b': 2}}).json()['thread_id']}"
    assert client.patch(path, {"metadata": {"b": {"c": 3}, "d": None}}).json()["metadata"] == {
        "a": 1,
        "b": {"c": 3},
        "d": None,
    }
    minimal = client.patch(path, {"metadata": {"a": 2}}, headers={"prefer": "return=minimal"})
    assert (minimal.status_code, minimal.content) == (204, b"")
    assert client.get(path).json()["metadata"]["a"] == 2


def test_what_is_deleted_is_gone(client):
    path = f"/threads/{client.post('/threads', {}).json()['thread_id']}"
    deleted = client.delete(path)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert client.get(path).status_code == client.delete(path).status_code == 404
