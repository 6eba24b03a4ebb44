"""What clients of LangGraph servers rely on: keys, headers, and the same answer at both addresses."""

import uuid
from datetime import datetime

import pytest
from django.test import Client

from runs.api import schema
from runs.models import Run, Thread
from tests.api.engine import CHECKPOINT, STATE
from tests.api.rows import make_rows
from tests.factories import make_run, make_thread, tenant_of

ECHO = uuid.uuid5(uuid.UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8"), "echo")
BODY = {"assistant_id": "echo", "input": {"a": 1}}


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


@pytest.mark.parametrize("prefix", ["", "/api"])
@pytest.mark.parametrize("address", ["/threads/{t}/runs", "/runs"])
def test_a_run_has_its_keys_and_says_where_it_is(client, alice, prefix, address):
    thread = make_thread(tenant_of(alice))
    response = client.post(f"{prefix}{address.format(t=thread.pk)}", BODY | {"metadata": {"a": 1}})
    run = response.json()
    schema.Run.model_validate(run)
    place = f"/threads/{run['thread_id']}/runs/{run['run_id']}"
    assert response.headers["Content-Location"] == prefix + place
    assert "Location" not in response.headers
    assert run | {"status": "pending", "multitask_strategy": "reject", "assistant_id": str(ECHO), "error": None} == run
    ids = {"thread_id": run["thread_id"], "run_id": run["run_id"], "graph_id": "echo", "assistant_id": str(ECHO)}
    assert run["metadata"] == {"a": 1, "created_by": "system", **ids}
    assert run["kwargs"]["config"]["configurable"].items() >= ids.items()
    assert run["kwargs"]["input"] == {"a": 1}
    assert client.get(prefix + place).json() == run
    assert client.get(f"{prefix}/threads/{run['thread_id']}/runs").json() == [run]


@pytest.mark.parametrize("prefix", ["", "/api"])
@pytest.mark.parametrize(
    ("address", "back"),
    [
        ("/threads/{t}/runs/stream", "stream"),
        ("/threads/{t}/runs/wait", "join"),
        ("/runs/stream", "stream"),
        ("/runs/wait", "join"),
    ],
)
def test_a_live_answer_says_where_to_come_back_to(client, alice, prefix, address, back):
    """`Location` is relative to the client's base, which holds the prefix already."""
    thread = make_thread(tenant_of(alice))
    response = client.post(f"{prefix}{address.format(t=thread.pk)}", BODY)
    run = Run.objects.get()
    place = f"/threads/{run.thread_id}/runs/{run.pk}"
    assert response.status_code == 200
    assert response.headers["Content-Location"] == prefix + place
    assert response.headers["Location"] == f"{place}/{back}"
    assert response.headers["Cache-Control"] == "no-cache, no-transform"
    assert response.headers["X-Accel-Buffering"] == "no"
    kinds = {"stream": "text/event-stream; charset=utf-8", "join": "application/json"}
    assert response.headers["Content-Type"] == kinds[back]


@pytest.mark.parametrize("prefix", ["", "/api"])
@pytest.mark.parametrize("address", ["stream", "join"])
def test_a_run_that_is_joined_says_where_to_come_back_to(client, alice, prefix, address):
    run = make_run(tenant_of(alice))
    place = f"/threads/{run.thread_id}/runs/{run.pk}"
    response = client.get(f"{prefix}{place}/{address}")
    assert response.headers["Content-Location"] == prefix + place
    assert response.headers["Location"] == f"{place}/{address}"


def test_a_join_is_a_stream_for_who_accepts_one(client, alice):
    run = make_run(tenant_of(alice))
    response = client.get(f"/threads/{run.thread_id}/runs/{run.pk}/join", headers={"accept": "text/event-stream"})
    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"


def test_a_thread_tells_its_latest_graph_and_assistant(client):
    thread_id = client.post("/threads", {"metadata": {"a": 1}}).json()["thread_id"]
    mine = client.post("/assistants", {"graph_id": "stress"}).json()["assistant_id"]
    for assistant_id, graph_id in (("echo", "echo"), ("echo", "echo"), (mine, "stress")):
        run = client.post(
            f"/threads/{thread_id}/runs", BODY | {"assistant_id": assistant_id, "multitask_strategy": "enqueue"}
        ).json()
        thread = client.get(f"/threads/{thread_id}").json()
        assert thread["metadata"] == {"a": 1, "graph_id": graph_id, "assistant_id": run["assistant_id"]}
        assert thread["status"] == "busy"


def test_a_run_makes_its_thread_unless_it_must_be_there(client):
    assert client.post("/threads/mine/runs", BODY | {"if_not_exists": "reject"}).status_code == 404
    assert not Thread.objects.exists()
    assert client.post("/threads/mine/runs", BODY).json()["thread_id"] == "mine"
    stateless = BODY | {"config": {"configurable": {"thread_id": "yours"}}}
    assert client.post("/runs", stateless).json()["thread_id"] == "yours"
    assert set(Thread.objects.values_list("pk", flat=True)) == {"mine", "yours"}


def test_a_run_without_a_thread_is_kept_or_deleted_as_asked(client):
    for on_completion, temporary in (("keep", False), ("delete", True)):
        run = client.post("/runs", BODY | {"on_completion": on_completion}).json()
        assert Thread.objects.get(pk=run["thread_id"]).temporary is temporary


def test_what_an_assistant_is_configured_with_is_overridden_by_the_run(client):
    config = {
        "tags": ["assistant"],
        "recursion_limit": 5,
        "configurable": {"a": 1, "b": 1},
        "metadata": {"a": 1, "b": 1},
    }
    assistant = {"graph_id": "echo", "config": config, "context": {"a": 1, "b": 1}, "metadata": {"c": 1}}
    assistant_id = client.post("/assistants", assistant).json()["assistant_id"]
    asked = {"tags": ["run"], "configurable": {"b": 2}, "metadata": {"b": 2}}
    run = client.post("/runs", {"assistant_id": assistant_id, "config": asked, "context": {"b": 2}}).json()
    kwargs = run["kwargs"]
    assert kwargs["config"]["configurable"].items() >= {"a": 1, "b": 2, "thread_id": run["thread_id"]}.items()
    assert run["metadata"].items() >= {"a": 1, "b": 2, "c": 1}.items()
    assert (kwargs["config"]["tags"], kwargs["config"]["recursion_limit"]) == (["run"], 5)
    assert kwargs["context"] == {"a": 1, "b": 2}


def test_the_server_says_who_and_where_whatever_metadata_says(client, alice):
    run = client.post("/runs", BODY | {"metadata": {"run_id": "mine", "graph_id": "mine", "thread_id": "mine"}}).json()
    assert (
        run["metadata"].items() >= {"run_id": run["run_id"], "graph_id": "echo", "thread_id": run["thread_id"]}.items()
    )
    assert run["kwargs"]["config"]["configurable"]["user_id"] == str(alice.pk)


def test_modes_are_kept_once_and_in_order(client):
    run = client.post("/runs", BODY | {"stream_mode": ["updates", "values", "updates"]}).json()
    assert run["kwargs"]["stream_mode"] == ["updates", "values"]
    assert client.post("/runs", BODY | {"stream_mode": "custom"}).json()["kwargs"]["stream_mode"] == ["custom"]
    assert client.post("/runs", BODY | {"stream_mode": []}).json()["kwargs"]["stream_mode"] == ["values"]


def test_a_cancel_is_accepted_again_and_again(client, alice):
    run = make_run(tenant_of(alice))
    path = f"/threads/{run.thread_id}/runs/{run.pk}"
    for _ in range(2):
        response = client.post(f"{path}/cancel")
        assert (response.status_code, response.content) == (202, b"")
    assert client.get(path).json()["status"] == "interrupted"
    assert client.post(f"{path}/cancel?wait=true").status_code == 204


@pytest.mark.parametrize("what", ["threads", "assistants"])
def test_a_search_is_paged(client, what):
    names = [
        client.post(
            f"/{what}", {"metadata": {"mine": number}} | ({"graph_id": "echo"} if what == "assistants" else {})
        ).json()
        for number in range(5)
    ]
    mine = [row["metadata"]["mine"] for row in names]
    seen, offset = [], 0
    while offset is not None:
        response = client.post(
            f"/{what}/search", {"limit": 2, "offset": offset, "sort_by": "created_at", "sort_order": "asc"}
        )
        seen += [row["metadata"]["mine"] for row in response.json() if "mine" in row["metadata"]]
        total = int(response.headers["x-pagination-total"])
        assert total == offset + len(response.json()) + ("x-pagination-next" in response.headers)
        following = response.headers.get("x-pagination-next")
        assert following is None or int(following) == offset + 2
        offset = following and int(following)
    assert seen == mine


@pytest.mark.parametrize("what", ["threads", "assistants"])
def test_a_search_is_newest_first_and_sorted_as_asked(client, what):
    for number in range(3):
        client.post(
            f"/{what}", {"metadata": {"mine": number}} | ({"graph_id": "stress"} if what == "assistants" else {})
        )

    def order(**query):
        rows = client.post(f"/{what}/search", query).json()
        return [row["metadata"]["mine"] for row in rows if "mine" in row["metadata"]]

    assert order() == order(sort_order="desc") == order(sort_by="created_at") == [2, 1, 0]
    assert order(sort_by="created_at", sort_order="asc") == [0, 1, 2]


def test_a_selection_holds_no_other_keys(client, alice):
    run = make_run(tenant_of(alice))
    assert client.post("/threads/search", {"select": ["thread_id", "status"]}).json() == [
        {"thread_id": run.thread_id, "status": "busy"}
    ]
    assert client.post("/assistants/search", {"select": ["graph_id"], "graph_id": "echo"}).json() == [
        {"graph_id": "echo"}
    ]
    for query in ("select=run_id&select=status", "select=run_id,status"):
        assert client.get(f"/threads/{run.thread_id}/runs?{query}").json() == [
            {"run_id": str(run.pk), "status": "pending"}
        ]


@pytest.mark.parametrize("field", ["context", "cancel_reason"])
def test_fields_that_clients_know_may_be_selected(client, alice, field):
    """Some names of the clients' type definitions have no value here."""
    run = make_run(tenant_of(alice))
    if field == "context":
        assert client.post("/threads/search", {"select": ["thread_id", "context"]}).json() == [
            {"thread_id": run.thread_id}
        ]
    else:
        assert client.get(f"/threads/{run.thread_id}/runs?select=run_id&select=cancel_reason").json() == [
            {"run_id": str(run.pk)}
        ]


def test_runs_are_listed_newest_first_by_status_and_page(client, alice):
    thread = make_thread(tenant_of(alice))
    made = [make_run(tenant_of(alice), thread, status=status) for status in ("success", "error", "success", "pending")]
    path = f"/threads/{thread.pk}/runs"
    newest_first = [str(run.pk) for run in reversed(made)]
    assert [run["run_id"] for run in client.get(path).json()] == newest_first
    assert [run["run_id"] for run in client.get(f"{path}?limit=2&offset=1").json()] == newest_first[1:3]
    assert [run["run_id"] for run in client.get(f"{path}?status=success").json()] == [str(made[2].pk), str(made[0].pk)]


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


def test_answers_are_not_for_caches(client):
    for response in (client.get("/assistants/echo"), client.get("/threads/x"), client.post("/threads", {})):
        assert response.headers["Cache-Control"] == "no-store"


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


def test_large_numbers_stay_numbers(client):
    """PostgreSQL writes them as long integers, which do not fit anywhere."""
    numbers = {"large": 6.02e23, "largest": 1e308, "small": 5e-324, "negative": -1e19, "integer": 2**63 - 1}
    run = client.post("/runs", BODY | {"input": numbers, "metadata": numbers}).json()
    path = f"/threads/{run['thread_id']}"
    client.patch(path, {"metadata": numbers})
    client.post(f"{path}/runs", BODY | {"multitask_strategy": "enqueue"})
    assert client.get(path).json()["metadata"].items() >= numbers.items()
    shown = client.get(f"{path}/runs/{run['run_id']}").json()
    assert shown["kwargs"]["input"] == numbers
    assert shown["metadata"].items() >= numbers.items()
    assert len(client.post("/threads/search", {"metadata": numbers}).json()) == 1
