"""Several runs at once, runs by their ids alone, and requests that are sent again."""

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from runs.identifiers import new_id
from runs.models import CreatedOnce, Graph, Run, Thread, WebhookEndpoint
from runs.states import RunStatus
from tests.factories import api_client, make_run, make_thread, tenant_of

RUN = {"assistant_id": "echo", "input": {}, "multitask_strategy": "enqueue"}


# Batches.


def test_a_batch_makes_its_runs_in_their_order(client, alice):
    thread = make_thread(tenant_of(alice))
    items = [RUN | {"metadata": {"number": number}, "thread_id": thread.pk} for number in range(3)] + [RUN]
    made = client.post("/runs/batch", items).json()
    assert [run["metadata"].get("number") for run in made] == [0, 1, 2, None]
    assert [run["thread_id"] == thread.pk for run in made] == [True, True, True, False]
    assert list(Run.objects.filter(thread=thread).order_by("position").values_list("pk", flat=True)) == [
        Run.objects.get(pk=run["run_id"]).pk for run in made[:3]
    ]


@pytest.mark.parametrize(
    "bad", [{"assistant_id": "nobody"}, {"surprise": 1}, {"thread_id": "a b"}, {"thread_id": "{foreign}"}]
)
def test_a_batch_makes_all_or_nothing(client, alice, charlie, bad):
    foreign = make_thread(tenant_of(charlie)).pk
    bad = {key: foreign if value == "{foreign}" else value for key, value in bad.items()}
    response = client.post("/runs/batch", [RUN, RUN | bad])
    assert response.status_code == (404 if foreign in bad.values() else 422)
    assert not Run.objects.exists() and Thread.objects.count() == 1


def test_a_batch_on_a_busy_thread_makes_nothing(client, alice):
    thread = make_run(tenant_of(alice)).thread
    response = client.post("/runs/batch", [RUN, RUN | {"thread_id": thread.pk, "multitask_strategy": "reject"}])
    assert response.status_code == 409
    assert Run.objects.count() == 1


@pytest.mark.parametrize("body", [[], {}, RUN, [RUN] * 101, [1], None])
def test_a_batch_is_a_list_of_up_to_a_hundred(client, body):
    assert client.post("/runs/batch", body, format="json").status_code == 422
    assert not Run.objects.exists()


# Cancelling many.


def statuses():
    return [run.status for run in Run.objects.order_by("created_at")]


def test_runs_are_cancelled_by_their_ids(client, alice):
    runs = [make_run(tenant_of(alice)) for _ in range(3)]
    ids = [str(run.pk) for run in runs[:2]]
    assert client.post("/runs/cancel", {"run_ids": [*ids, ids[0]]}).status_code == 204
    assert statuses() == ["interrupted", "interrupted", "pending"]
    assert client.post("/runs/cancel", {"run_ids": ids}).status_code == 204


def test_of_ended_runs_among_them_nothing_is_said(client, alice):
    ended, active = make_run(tenant_of(alice), status=RunStatus.SUCCESS), make_run(tenant_of(alice))
    assert client.post("/runs/cancel", {"run_ids": [str(ended.pk), str(active.pk)]}).status_code == 204
    assert statuses() == ["success", "interrupted"]


def test_nothing_is_cancelled_when_one_is_not_found(client, alice, charlie):
    mine, thread = make_run(tenant_of(alice)), make_thread(tenant_of(alice))
    foreign = str(make_run(tenant_of(charlie)).pk)
    for body in (
        {"run_ids": [str(mine.pk), foreign]},
        {"run_ids": [str(mine.pk), str(new_id())]},
        {"run_ids": [str(mine.pk), "x"]},
        {"run_ids": [str(mine.pk)], "thread_id": thread.pk},
    ):
        response = client.post("/runs/cancel", body)
        assert (response.status_code, response.json()) == (404, {"detail": "Run not found."})
    assert statuses() == ["pending", "pending"]


def test_by_status_the_caller_s_own_are_cancelled(client, alice, bob, charlie):
    shared = make_thread(tenant_of(bob), shared=True)
    for run in (
        make_run(tenant_of(alice)),
        make_run(tenant_of(alice), status=RunStatus.RUNNING),
        make_run(tenant_of(bob), shared),
        make_run(tenant_of(charlie)),
    ):
        assert run.pk
    assert client.post("/runs/cancel?action=rollback", {"status": "pending"}).status_code == 204
    assert statuses() == ["error", "running", "pending", "pending"]
    assert client.post("/runs/cancel", {"status": "all"}).status_code == 204
    assert list(Run.objects.order_by("created_at").values_list("cancel_action", flat=True)) == [
        "rollback",
        "interrupt",
        "",
        "",
    ]
    assert client.post("/runs/cancel", {"status": "pending"}).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"run_ids": []},
        {"run_ids": ["x"] * 101},
        {"run_ids": ["x"], "status": "all"},
        {"status": "done"},
        {"run_ids": [1]},
        {"thread_id": "t"},
    ],
)
def test_what_is_to_be_cancelled_is_said_in_one_way(client, body):
    assert client.post("/runs/cancel", body).status_code == 422


def test_how_to_cancel_must_be_known(client, alice):
    run = make_run(tenant_of(alice))
    assert client.post("/runs/cancel?action=kill", {"run_ids": [str(run.pk)]}).status_code == 422
    assert statuses() == ["pending"]


# By their ids alone.


def test_a_run_is_found_by_its_id_alone(client, alice, charlie):
    run = make_run(tenant_of(alice))
    whole = client.get(f"/threads/{run.thread_id}/runs/{run.pk}").json()
    assert client.get(f"/runs/{run.pk}").json() == client.get(f"/api/runs/{run.pk}").json() == whole
    assert client.post(f"/runs/{run.pk}/cancel").status_code == 202
    assert client.get(f"/runs/{run.pk}/stream").status_code == 200
    assert client.delete(f"/runs/{run.pk}").status_code == 204
    for run_id in (run.pk, make_run(tenant_of(charlie)).pk, "x", "search"):
        assert client.get(f"/runs/{run_id}").status_code == 404


# Stateless runs that name their thread.


@pytest.mark.parametrize("path", ["/runs", "/runs/batch"])
@pytest.mark.parametrize("default", ["create", "reject"])
def test_a_named_thread_that_is_not_there_is_made_or_not(client, settings, path, default):
    settings.DEFAULT_IF_NOT_EXISTS = default

    def status(thread_id, **over):
        body = RUN | {"config": {"configurable": {"thread_id": thread_id}}} | over
        return client.post(path, [body] if path == "/runs/batch" else body).status_code

    assert status("a") == (200 if default == "create" else 404)
    assert status("b", if_not_exists="reject") == 404
    assert status("c", if_not_exists="create") == 200
    assert status("c", if_not_exists="reject") == 200
    assert {thread.pk for thread in Thread.objects.all()} == ({"a", "c"} if default == "create" else {"c"})


@pytest.mark.parametrize("path", ["/runs", "/runs/batch"])
def test_what_becomes_of_a_named_thread_is_no_question(client, path):
    body = RUN | {"config": {"configurable": {"thread_id": "t"}}, "on_completion": "delete"}
    response = client.post(path, [body] if path == "/runs/batch" else body)
    assert (response.status_code, response.json()["detail"][0]["loc"]) == (422, ["body", "on_completion"])
    assert not Thread.objects.exists()


# Keys.


@pytest.fixture
def address(alice):
    return f"/threads/{make_thread(tenant_of(alice)).pk}/runs"


def send(client, address, body=None, key="key"):
    return client.post(address, RUN if body is None else body, headers={"Idempotency-Key": key})


def test_a_key_makes_one_run(client, address):
    first, again, other = send(client, address), send(client, address, key=" key "), send(client, address, key="other")
    assert first.json() == again.json() != other.json()
    assert Run.objects.count() == 2
    assert first.headers["Content-Location"] == again.headers["Content-Location"]


@pytest.mark.parametrize("live", ["/stream", "/wait"])
def test_a_key_makes_one_run_that_is_followed_again(client, address, live):
    places = {send(client, address + live).headers["Content-Location"] for _ in range(2)}
    assert len(places) == 1 == Run.objects.count()


def test_a_key_makes_one_stateless_run_and_one_batch(client):
    assert send(client, "/runs").json() == send(client, "/api/runs").json()
    batch = send(client, "/runs/batch", [RUN, RUN]).json()
    assert send(client, "/runs/batch", [RUN, RUN]).json() == batch
    assert Run.objects.count() == Thread.objects.count() == 3


def test_a_key_with_another_body_is_refused_and_makes_nothing(client, address):
    send(client, address)
    response = send(client, address, RUN | {"input": {"a": 1}})
    assert (response.status_code, response.json()["detail"][0]["loc"]) == (422, ["header", "Idempotency-Key"])
    assert Run.objects.count() == 1


def test_the_order_of_keys_makes_no_other_body(client, address):
    assert (
        send(client, address, {"input": {}, "assistant_id": "echo"}).json()
        == send(client, address, {"assistant_id": "echo", "input": {}}).json()
    )


def test_a_refused_request_uses_up_no_key(client, address):
    assert send(client, address, RUN | {"assistant_id": "nobody"}).status_code == 422
    assert send(client, address).status_code == 200


def test_keys_are_their_sender_s_and_their_address_s(client, address, alice, bob, charlie):
    send(client, "/runs")
    for other in (bob, charlie):
        assert send(api_client(other), "/runs", RUN | {"input": {"b": 1}}).status_code == 200
    assert send(client, address, RUN | {"input": {"b": 1}}).status_code == 200
    assert Run.objects.count() == 4


def test_a_key_is_forgotten_after_a_day(client, address):
    send(client, address)
    CreatedOnce.objects.update(created_at=timezone.now() - timedelta(hours=25))
    assert send(client, address, RUN | {"input": {"a": 1}}).status_code == 200
    assert Run.objects.count() == 2


def test_what_a_key_made_may_have_been_deleted(client, address):
    run = send(client, address).json()
    client.delete(f"/runs/{run['run_id']}")
    response = send(client, address)
    assert response.status_code == 409 and not Run.objects.exists()


@pytest.mark.parametrize("path", ["/runs", "/runs/batch"])
def test_a_key_is_answered_though_the_request_could_not_be_obeyed_any_more(client, engine, alice, path):
    assistant = client.post("/assistants", {"graph_id": "echo"}).json()["assistant_id"]
    thread = make_thread(tenant_of(alice), graph_id="echo")
    body = RUN | {
        "assistant_id": assistant,
        "checkpoint_id": "1f0a0000-0000-6000-8000-000000000001",
        "config": {"configurable": {"thread_id": thread.pk}},
        "webhook": "https://hooks.test/done",
    }
    engine.answers["has_checkpoint"] = True
    body = [body] if path == "/runs/batch" else body
    first = send(client, path, body)
    assert first.status_code == 200
    engine.answers["has_checkpoint"] = False
    Graph.objects.update(error="gone")
    WebhookEndpoint.objects.create(organization_id=tenant_of(alice).organization_id, url="https://hooks.test/done")
    assert client.delete(f"/assistants/{assistant}").status_code == 204
    again = send(client, path, body)
    assert again.status_code == 200
    first, again = (answer.json()[0] if path == "/runs/batch" else answer.json() for answer in (first, again))
    assert again["run_id"] == first["run_id"]
    assert send(client, path, body, key="other").status_code == 422


@pytest.mark.parametrize("key", ["", " ", "k" * 256, "schlüssel", "a\tb"])
def test_a_key_is_printable_and_short(client, address, key):
    response = send(client, address, key=key)
    assert (response.status_code, response.json()["detail"][0]["loc"]) == (422, ["header", "Idempotency-Key"])
    assert not Run.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_requests_with_one_key_that_come_at_once_make_one_run(client, alice, address):
    answers = []

    def create():
        answers.append(send(api_client(alice), address).json())
        connection.close()

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({answer["run_id"] for answer in answers}) == 1 == Run.objects.count()


# What a thread waits for.


def test_what_waits_for_nothing_is_not_resumed(client, alice):
    thread = make_thread(tenant_of(alice))
    resume = {"assistant_id": "echo", "command": {"resume": 1}}
    assert client.post(f"/threads/{thread.pk}/runs", resume).status_code == 409
    assert client.post("/runs", resume).status_code == 409
    assert not Run.objects.exists()
    Thread.objects.update(settled_status="interrupted")
    assert client.post(f"/threads/{thread.pk}/runs", resume).status_code == 200


def test_an_unknown_checkpoint_makes_no_run(client, alice, engine):
    thread = make_thread(tenant_of(alice), graph_id="echo")
    body = RUN | {"checkpoint_id": "1f0a0000-0000-6000-8000-000000000001"}
    engine.answers["has_checkpoint"] = False
    for address in (f"/threads/{thread.pk}/runs", f"/threads/{new_id()}/runs", "/runs"):
        assert client.post(address, body).status_code == 404
    assert not Run.objects.exists()
    engine.answers["has_checkpoint"] = True
    assert client.post(f"/threads/{thread.pk}/runs", body).status_code == 200


def test_a_checkpoint_of_a_subgraph_reaches_the_run_with_those_around_it(client, alice, engine):
    thread = make_thread(tenant_of(alice), graph_id="echo")
    checkpoint = {"checkpoint_id": "c", "checkpoint_ns": "child:1", "checkpoint_map": {"": "b", "child:1": "c"}}
    run = client.post(f"/threads/{thread.pk}/runs", RUN | {"checkpoint": checkpoint}).json()
    assert run["kwargs"]["config"]["configurable"].items() >= checkpoint.items()
    asked = [params["checkpoint"] for method, params in engine.questions if method == "has_checkpoint"]
    assert {(place["checkpoint_ns"], place["checkpoint_id"]) for place in asked} == {("", "b"), ("child:1", "c")}
