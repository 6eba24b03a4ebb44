"""Well-formed requests that ask for what there is not: each is refused by the name of its field, without a trace."""

import pytest

from tests.api.problems import locs, named
from tests.api.rows import fingerprint, make_rows
from tests.factories import make_run, make_thread, tenant_of

RUNS = (
    "/runs",
    "/runs/stream",
    "/runs/wait",
    "/threads/{t}/runs",
    "/threads/{t}/runs/stream",
    "/threads/{t}/runs/wait",
)

BAD_RUNS = [
    ({"assistant_id": ""}, ["assistant_id"]),
    ({"assistant_id": None}, ["assistant_id"]),
    ({"assistant_id": 5}, ["assistant_id"]),
    ({"assistant_id": "x" * 65}, ["assistant_id"]),
    ({"assistant_id": "no-such-graph"}, ["assistant_id"]),
    ({"assistant_id": "broken"}, ["assistant_id"]),
    ({"assistant_id": "046B5DC7-2108-582C-9C6C-31D556D138F0"}, ["assistant_id"]),
    ({"input": {}, "command": {"resume": 1}}, []),
    ({"command": {"stop": True}}, ["command", "stop"]),
    ({"command": {"update": [["a"]]}}, ["command", "update"]),
    ({"command": {"goto": {"input": 1}}}, ["command", "goto"]),
    ({"command": {"goto": 5}}, ["command", "goto"]),
    ({"metadata": []}, ["metadata"]),
    ({"metadata": "x"}, ["metadata"]),
    ({"context": 1}, ["context"]),
    ({"config": []}, ["config"]),
    ({"config": {"surprise": 1}}, ["config", "surprise"]),
    ({"config": {"tags": ["t"] * 101}}, ["config", "tags"]),
    ({"config": {"tags": ["t" * 256]}}, ["config", "tags"]),
    ({"config": {"tags": [None]}}, ["config", "tags"]),
    ({"config": {"recursion_limit": 0}}, ["config", "recursion_limit"]),
    ({"config": {"recursion_limit": -1}}, ["config", "recursion_limit"]),
    ({"config": {"recursion_limit": 10**9}}, ["config", "recursion_limit"]),
    ({"config": {"recursion_limit": 2.5}}, ["config", "recursion_limit"]),
    ({"config": {"recursion_limit": "9"}}, ["config", "recursion_limit"]),
    ({"config": {"recursion_limit": True}}, ["config", "recursion_limit"]),
    ({"config": {"max_concurrency": 0}}, ["config", "max_concurrency"]),
    ({"config": {"run_name": "n" * 256}}, ["config", "run_name"]),
    ({"config": {"configurable": {"thread_id": 7}}}, ["config", "configurable"]),
    ({"stream_mode": "tokens"}, ["stream_mode"]),
    ({"stream_mode": ["values", "tokens"]}, ["stream_mode"]),
    ({"stream_mode": ["values"] * 17}, ["stream_mode"]),
    ({"stream_mode": {"values": True}}, ["stream_mode"]),
    ({"stream_subgraphs": "yes"}, ["stream_subgraphs"]),
    ({"stream_resumable": 1}, ["stream_resumable"]),
    ({"multitask_strategy": "queue"}, ["multitask_strategy"]),
    ({"on_disconnect": "ignore"}, ["on_disconnect"]),
    ({"on_completion": "archive"}, ["on_completion"]),
    ({"if_not_exists": "maybe"}, ["if_not_exists"]),
    ({"durability": "eventual"}, ["durability"]),
    ({"checkpoint_during": "no"}, ["checkpoint_during"]),
    ({"after_seconds": -1}, ["after_seconds"]),
    ({"after_seconds": 10**12}, ["after_seconds"]),
    ({"after_seconds": "soon"}, ["after_seconds"]),
    ({"interrupt_before": "node"}, ["interrupt_before"]),
    ({"interrupt_after": [5]}, ["interrupt_after"]),
    ({"checkpoint": "latest"}, ["checkpoint"]),
    ({"checkpoint": {"surprise": 1}}, ["checkpoint", "surprise"]),
    ({"checkpoint": {"thread_id": "another"}}, ["checkpoint", "thread_id"]),
    ({"checkpoint_id": "x" * 256}, ["checkpoint_id"]),
    ({"checkpoint_id": "a", "checkpoint": {"checkpoint_id": "b"}}, []),
]

RESERVED = [
    "run_id",
    "user_id",
    "organization_id",
    "assistant_id",
    "graph_id",
    "run_attempt",
    "checkpoint_ns",
    "langgraph_auth_user",
    "langgraph_auth_user_id",
    "langgraph_request_id",
    "__pregel_resuming",
    "__pregel_checkpointer",
    "__anything",
]

BAD_THREADS = [
    ({"thread_id": ""}, "thread_id"),
    ({"thread_id": 5}, "thread_id"),
    ({"thread_id": "a b"}, "thread_id"),
    ({"thread_id": "../x"}, "thread_id"),
    ({"thread_id": "search"}, "thread_id"),
    ({"thread_id": "x" * 65}, "thread_id"),
    ({"thread_id": "é"}, "thread_id"),
    ({"thread_id": "a\n"}, "thread_id"),
    ({"metadata": []}, "metadata"),
    ({"metadata": None, "if_exists": "replace"}, "if_exists"),
    ({"supersteps": {}}, "supersteps"),
    ({"ttl": "5"}, "ttl"),
]


@pytest.mark.parametrize(("wrong", "loc"), BAD_RUNS, ids=[str(wrong)[:60] for wrong, _ in BAD_RUNS])
def test_a_run_that_can_not_be_is_refused_by_the_name_of_its_field(client, alice, wrong, loc):
    thread_id = make_rows(alice, "alice").thread.pk
    before = fingerprint()
    for path in RUNS:
        response = client.post(path.format(t=thread_id), {"assistant_id": "echo"} | wrong)
        assert response.status_code == 422, (path, response.content)
        assert named(response, "body", *loc), locs(response)
        assert not response.streaming
    assert fingerprint() == before


@pytest.mark.parametrize("key", RESERVED)
@pytest.mark.parametrize("value", ["x", None, {}])
def test_keys_of_the_server_are_nobody_elses_to_set(client, key, value):
    before = fingerprint()
    config = {"configurable": {key: value}}
    for path, body in (
        ("/runs", {"assistant_id": "echo", "config": config}),
        ("/threads/new/runs", {"assistant_id": "echo", "config": config}),
        ("/assistants", {"graph_id": "echo", "config": config}),
    ):
        response = client.post(path, body)
        assert response.status_code == 422
        assert named(response, "body", "config", "configurable")
        assert f"'{key}' is set by the server" in response.json()["detail"][0]["msg"]
    assert fingerprint() == before


def test_a_run_says_its_thread_once(client, alice):
    thread = make_thread(tenant_of(alice))
    before = fingerprint()
    body = {"assistant_id": "echo", "config": {"configurable": {"thread_id": "another"}}}
    response = client.post(f"/threads/{thread.pk}/runs", body)
    assert (response.status_code, locs(response)) == (422, [["body", "config", "configurable", "thread_id"]])
    body["config"]["configurable"]["thread_id"] = "../x"
    response = client.post("/runs", body)
    assert (response.status_code, locs(response)) == (422, [["body", "config", "configurable", "thread_id"]])
    assert fingerprint() == before


def test_options_of_stateless_runs_are_refused_on_a_thread(client, alice):
    thread = make_thread(tenant_of(alice))
    response = client.post(f"/threads/{thread.pk}/runs", {"assistant_id": "echo", "on_completion": "delete"})
    assert (response.status_code, locs(response)) == (422, [["body", "on_completion"]])
    kept = client.post(f"/threads/{thread.pk}/runs", {"assistant_id": "echo", "on_completion": "keep"})
    assert kept.status_code == 200


def test_an_unknown_assistant_is_not_found_by_id_and_named_by_graph(client):
    by_id = client.post("/runs", {"assistant_id": "01890a5d-ac96-774b-bcce-b302099a8057"})
    assert (by_id.status_code, by_id.json()) == (404, {"detail": "Assistant not found."})
    by_graph = client.post("/runs", {"assistant_id": "nope"})
    assert by_graph.status_code == 422
    assert "broken, echo, stress" in by_graph.json()["detail"][0]["msg"]


def test_a_busy_thread_rejects_a_run_and_an_update(client, alice, engine):
    run = make_run(tenant_of(alice))
    before = fingerprint()
    path = f"/threads/{run.thread_id}"
    rejected = client.post(f"{path}/runs", {"assistant_id": "echo", "multitask_strategy": "reject"})
    assert rejected.status_code == 409
    assert "already running" in rejected.json()["detail"]
    assert client.post(f"{path}/state", {"values": {}}).status_code == 409
    assert fingerprint() == before
    assert engine.questions == []


@pytest.mark.parametrize(("wrong", "field"), BAD_THREADS, ids=[str(wrong)[:60] for wrong, _ in BAD_THREADS])
def test_a_thread_that_can_not_be_is_refused_by_the_name_of_its_field(client, wrong, field):
    before = fingerprint()
    response = client.post("/threads", wrong)
    assert response.status_code == 422
    assert named(response, "body", field)
    assert fingerprint() == before


@pytest.mark.parametrize(
    "field",
    ["organization", "organization_id", "owner", "owner_id", "status", "shared", "created_at", "values", "last_seq"],
)
def test_what_only_the_server_knows_can_not_be_set(client, alice, field):
    rows = make_rows(alice, "alice")
    before = fingerprint()
    for method, path, body in (
        ("post", "/threads", {}),
        ("patch", f"/threads/{rows.thread.pk}", {}),
        ("post", "/assistants", {"graph_id": "echo"}),
        ("post", "/runs", {"assistant_id": "echo"}),
    ):
        response = getattr(client, method)(path, {**body, field: "x"})
        assert response.status_code == 422
        assert named(response, "body", field)
    assert fingerprint() == before


@pytest.mark.parametrize("address", ["cancel", "stream"])
def test_what_takes_no_body_names_what_it_was_sent(client, alice, address):
    run = make_run(tenant_of(alice))
    response = client.post(f"/threads/{run.thread_id}/runs/{run.pk}/{address}?action=interrupt", {"action": "rollback"})
    assert (response.status_code, locs(response)) == (422, [["body", "action"]])
    run.refresh_from_db()
    assert run.status == "pending"


@pytest.mark.parametrize("status", ["success", "error", "timeout"])
def test_a_finished_run_can_not_be_cancelled(client, alice, status):
    run = make_run(tenant_of(alice), status=status)
    path = f"/threads/{run.thread_id}/runs/{run.pk}"
    before = fingerprint()
    for method, address in (
        ("post", "cancel"),
        ("post", "cancel?wait=1"),
        ("get", "stream?action=interrupt"),
        ("post", "stream?action=interrupt&wait=1"),
    ):
        response = getattr(client, method)(f"{path}/{address}")
        assert response.status_code == 409
        assert response.json()["detail"].endswith(f"is not cancellable (status: {status})")
    assert fingerprint() == before


BAD_ASSISTANTS = [
    ({"graph_id": ""}, "graph_id"),
    ({"graph_id": "x" * 65}, "graph_id"),
    ({"assistant_id": "mine"}, "assistant_id"),
    ({"assistant_id": "046B5DC7-2108-582C-9C6C-31D556D138F0"}, "assistant_id"),
    ({"name": ""}, "name"),
    ({"name": "x" * 256}, "name"),
    ({"description": "x" * 4097}, "description"),
    ({"version": 7}, "version"),
    ({"config": {"surprise": 1}}, "config"),
    ({"if_exists": "replace"}, "if_exists"),
]


@pytest.mark.parametrize(("wrong", "field"), BAD_ASSISTANTS, ids=[str(wrong)[:40] for wrong, _ in BAD_ASSISTANTS])
def test_an_assistant_that_can_not_be_is_refused_by_the_name_of_its_field(client, wrong, field):
    before = fingerprint()
    response = client.post("/assistants", {"graph_id": "echo"} | wrong)
    assert response.status_code == 422
    assert named(response, "body", field)
    assert fingerprint() == before
