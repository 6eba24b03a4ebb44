"""Runs as clients of LangGraph servers know them: their keys, where they say they are, what they were asked."""

import uuid

import pytest

from runs.api import schema
from runs.models import Run, Thread
from tests.factories import make_run, make_thread, tenant_of

ECHO = uuid.uuid5(uuid.UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8"), "echo")
BODY = {"assistant_id": "echo", "input": {"a": 1}}


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
