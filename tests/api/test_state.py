"""The state of threads at the edge: what is asked of an engine, and what is answered for it."""

import pytest

from runs.api import schema
from runs.calls import CallRefused
from tests.api.engine import CHECKPOINT, STATE
from tests.api.problems import locs, named
from tests.api.rows import fingerprint, make_rows
from tests.factories import make_thread, tenant_of


def test_states_have_their_keys(client, alice, engine):
    path = f"/threads/{make_rows(alice, 'word').thread.pk}"
    for response in (
        client.get(f"{path}/state"),
        client.get(f"{path}/state/{CHECKPOINT['checkpoint_id']}"),
        client.post(f"{path}/state/checkpoint", {"checkpoint": CHECKPOINT | {"thread_id": None}}),
    ):
        assert response.json() == STATE
        schema.ThreadState.model_validate(response.json())
    assert client.get(f"{path}/history").json() == client.post(f"{path}/history", {}).json() == [STATE]
    written = client.post(f"{path}/state", {"values": {"a": 1}}).json()
    schema.StateWritten.model_validate(written)
    assert written["checkpoint_id"] == CHECKPOINT["checkpoint_id"]


def test_a_thread_that_has_not_run_has_an_empty_state(client, engine):
    path = f"/threads/{client.post('/threads', {}).json()['thread_id']}"
    state = client.get(f"{path}/state").json()
    schema.ThreadState.model_validate(state)
    assert (state["values"], state["next"], state["checkpoint"]) == ({}, [], None)
    assert client.post(f"{path}/history", {}).json() == []
    assert engine.questions == []


def test_what_is_asked_of_the_engine_is_what_the_caller_asked(client, alice, engine):
    thread_id = make_rows(alice, "word").thread.pk
    path = f"/threads/{thread_id}"
    client.get(f"{path}/state?subgraphs=true")
    client.get(f"{path}/state/some-id")
    client.post(
        f"{path}/state/checkpoint", {"checkpoint": {"checkpoint_id": "c", "checkpoint_ns": "a:1"}, "subgraphs": True}
    )
    client.post(
        f"{path}/history", {"limit": 3, "before": {"configurable": {"checkpoint_id": "b"}}, "metadata": {"step": 1}}
    )
    client.post(f"{path}/state", {"values": {"a": 1}, "as_node": "node", "checkpoint_id": "c"})
    asked = [params for _, params in engine.questions]
    assert {(params["thread_id"], params["graph_id"], params["user_id"]) for params in asked} == {
        (thread_id, "echo", str(alice.pk))
    }
    latest, at, by, history, update = asked
    assert (latest["checkpoint"], latest["subgraphs"]) == ({"checkpoint_ns": ""}, True)
    assert (at["checkpoint"], at["subgraphs"]) == ({"checkpoint_id": "some-id", "checkpoint_ns": ""}, False)
    assert (by["checkpoint"], by["subgraphs"]) == ({"checkpoint_id": "c", "checkpoint_ns": "a:1"}, True)
    assert (history["limit"], history["before"], history["metadata"]) == (3, {"checkpoint_id": "b"}, {"step": 1})
    assert (update["values"], update["as_node"]) == ({"a": 1}, "node")
    assert update["checkpoint"] == {"checkpoint_id": "c", "checkpoint_ns": ""}


@pytest.mark.parametrize("address", ["state", "history"])
def test_without_an_engine_it_is_worth_trying_again(client, alice, address):
    response = client.get(f"/threads/{make_rows(alice, 'word').thread.pk}/{address}")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert set(response.json()) == {"detail"}


@pytest.mark.parametrize("status", [404, 409, 422, 503])
def test_what_an_engine_refuses_is_refused(client, alice, engine, status):
    engine.error = CallRefused(status, "the reason")
    response = client.get(f"/threads/{make_rows(alice, 'word').thread.pk}/state")
    assert response.status_code == status
    assert "the reason" in response.content.decode()


def test_an_update_that_an_engine_refuses_changes_nothing_that_is_shown(client, alice, engine):
    path = f"/threads/{make_rows(alice, 'word').thread.pk}"
    before = client.get(path).json()
    engine.error = CallRefused(422, "the reason")
    assert client.post(f"{path}/state", {"values": {"a": 1}}).status_code == 422
    assert client.get(path).json() == before


def test_an_update_is_shown_with_the_thread(client, alice, engine):
    path = f"/threads/{make_rows(alice, 'word').thread.pk}"
    engine.answers["update"] = {"state": STATE | {"next": ["ask"]}, "checkpoint": CHECKPOINT}
    client.post(f"{path}/state", {"values": {"a": 1}})
    thread = client.get(path).json()
    assert (thread["values"], thread["status"], thread["error"]) == (STATE["values"], "interrupted", None)


def test_of_a_state_only_what_is_asked_for_is_shown(client, alice, engine):
    path = f"/threads/{make_rows(alice, 'word').thread.pk}"
    engine.answers["state"] = STATE | {"values": {"a": 1, "b": 2}}
    engine.answers["history"] = [engine.answers["state"]] * 2
    assert client.get(f"{path}/state?select=next&select=values").json() == {"next": [], "values": {"a": 1, "b": 2}}
    part = {"values": {"b": 2}}
    assert client.get(f"{path}/state/some-id?select=values.b").json() == part
    body = {"select": ["values.b", "values.absent"]}
    assert client.post(f"{path}/state/checkpoint", {"checkpoint": {}, **body}).json() == part
    assert client.post(f"{path}/history", body).json() == [part] * 2
    fresh = client.post("/threads", {}).json()["thread_id"]
    assert client.get(f"/threads/{fresh}/state?select=values.b&select=tasks").json() == {"values": {}, "tasks": []}
    for wrong in ("owner", "values.", "values[0]", "x" * 300):
        assert locs(client.get(f"{path}/state?select={wrong}")) == [["query", "select"]]


BAD_STATES = [
    ("history", {"select": ["owner"]}, "select"),
    ("history", {"select": ["next"] * 51}, "select"),
    ("state/checkpoint", {"checkpoint": {}, "select": "next"}, "select"),
    ("state", {"values": "x"}, "values"),
    ("state", {"values": [1]}, "values"),
    ("state", {"as_node": 5}, "as_node"),
    ("state", {"as_node": "x" * 256}, "as_node"),
    ("state", {"checkpoint_id": 5}, "checkpoint_id"),
    ("state", {"checkpoint": {"checkpoint_ns": 5}}, "checkpoint"),
    ("state/checkpoint", {}, "checkpoint"),
    ("state/checkpoint", {"checkpoint": None}, "checkpoint"),
    ("state/checkpoint", {"checkpoint": {"checkpoint_ns": "x" * 1025}}, "checkpoint"),
    ("state/checkpoint", {"checkpoint": {}, "subgraphs": "all"}, "subgraphs"),
    ("history", {"limit": 0}, "limit"),
    ("history", {"limit": 10**6}, "limit"),
    ("history", {"before": 5}, "before"),
    ("history", {"before": {"nope": 1}}, "before"),
    ("history", {"before": {"configurable": 5}}, "before"),
    ("history", {"before": {"configurable": {"checkpoint_id": 5}}}, "before"),
    ("history", {"metadata": {"') OR 1=1--": 1}}, "metadata"),
    ("history", {"metadata": {"": 1}}, "metadata"),
    ("history", {"metadata": {str(number): 1 for number in range(51)}}, "metadata"),
]


@pytest.mark.parametrize(("address", "wrong", "field"), BAD_STATES, ids=[f"{a} {w}"[:60] for a, w, _ in BAD_STATES])
def test_a_question_about_state_that_can_not_be_is_not_asked(client, alice, engine, address, wrong, field):
    rows = make_rows(alice, "alice")
    before = fingerprint()
    response = client.post(f"/threads/{rows.thread.pk}/{address}", wrong)
    assert response.status_code == 422, response.content
    assert named(response, "body", field), locs(response)
    assert fingerprint() == before
    assert engine.questions == []


def test_a_thread_without_a_graph_has_no_state_to_write(client, alice, engine):
    thread = make_thread(tenant_of(alice))
    response = client.post(f"/threads/{thread.pk}/state", {"values": {}})
    assert (response.status_code, locs(response)) == (422, [["path", "thread_id"]])
    assert engine.questions == []
