"""Threads that begin with a state, and threads that are pruned: all of it happens, or nothing is left of it."""

import threading

import pytest
from django.db import connections

from runs import lifecycle
from runs.calls import CallRefused, NoEngine
from runs.models import EventChunk, Message, Purge, Run, Thread
from tests.api.engine import CHECKPOINT, STATE, STORAGE
from tests.api.problems import locs, named
from tests.api.rows import make_rows
from tests.factories import api_client, make_run, make_thread, tenant_of

STEP = {"updates": [{"values": {"a": 1}, "as_node": "one"}]}
SEEDED = {"metadata": {"graph_id": "echo"}, "supersteps": [STEP]}
FAILURES = [
    (CallRefused(422, "no such node"), 422),
    (CallRefused(409, "taken over"), 409),
    (CallRefused(503, "away"), 503),
    (NoEngine(), 503),
]


def visible(client):
    return [thread["thread_id"] for thread in client.post("/threads/search", {"limit": 100}).json()]


def test_supersteps_are_written_and_their_state_is_shown(client, engine):
    engine.answers["seed"] = STATE | {
        "next": ["ask"],
        "tasks": [{"id": "task", "interrupts": [{"id": "i", "value": 1}]}],
    }
    steps = [STEP, {"updates": [{"values": None, "command": {"goto": "two"}, "as_node": "two"}]}]
    made = client.post("/threads", SEEDED | {"supersteps": steps, "ttl": 5, "thread_id": "mine"}).json()
    (method, asked), *_ = engine.questions
    assert (method, asked["thread_id"], asked["graph_id"], asked["position"]) == ("seed", "mine", "echo", 1)
    assert asked["supersteps"][0] == [{"values": {"a": 1}, "command": None, "as_node": "one"}]
    assert asked["supersteps"][1][0]["command"]["goto"] == "two"
    assert made["values"] == STATE["values"]
    assert (made["status"], made["interrupts"]) == ("interrupted", {"task": [{"id": "i", "value": 1}]})
    assert client.get("/threads/mine").json() == made
    assert visible(client) == ["mine"]
    assert client.get("/threads/mine?include=ttl").json()["ttl"]["ttl_minutes"] == 5
    assert Thread.objects.get().last_position == 1


@pytest.mark.parametrize(("failure", "status"), FAILURES, ids=repr)
def test_of_supersteps_that_fail_nothing_is_left(client, engine, failure, status):
    engine.error = failure
    response = client.post("/threads", SEEDED | {"thread_id": "mine"})
    assert response.status_code == status
    assert client.get("/threads/mine").status_code == 404
    assert [purge.pk for purge in Purge.objects.all()] == ["mine"]


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({"supersteps": [STEP]}, ("metadata", "graph_id")),
        ({"supersteps": [STEP], "metadata": {"graph_id": "nowhere"}}, ("metadata", "graph_id")),
        ({"supersteps": [STEP], "metadata": {"graph_id": 5}}, ("metadata", "graph_id")),
        (SEEDED | {"supersteps": [{}]}, ("supersteps",)),
        (SEEDED | {"supersteps": [{"updates": []}]}, ("supersteps",)),
        (SEEDED | {"supersteps": [{"updates": [{"values": {}}]}]}, ("supersteps",)),
        (SEEDED | {"supersteps": [{"updates": [{"values": 5, "as_node": "one"}]}]}, ("supersteps",)),
        (SEEDED | {"supersteps": [{"updates": [{"as_node": ""}]}]}, ("supersteps",)),
        (
            SEEDED | {"supersteps": [{"updates": [{"as_node": "a", "values": {"a": 1}, "command": {"goto": "b"}}]}]},
            ("supersteps",),
        ),
        (SEEDED | {"supersteps": [STEP] * 1001}, ("supersteps",)),
    ],
    ids=lambda value: str(value)[:60],
)
def test_supersteps_that_can_not_be_are_refused(client, engine, body, loc):
    response = client.post("/threads", body)
    assert response.status_code == 422
    assert named(response, "body", *loc), locs(response)
    assert not Thread.objects.exists() and engine.questions == []


def test_supersteps_for_a_thread_that_is_there_change_nothing(client, engine):
    made = client.post("/threads", {"thread_id": "mine"}).json()
    assert client.post("/threads", SEEDED | {"thread_id": "mine"}).status_code == 409
    for path, more in (("/threads", {"if_exists": "do_nothing"}), ("/api/threads", {})):
        assert client.post(path, SEEDED | {"thread_id": "mine"} | more).json() == made
    assert engine.questions == []


def test_a_copy_has_what_the_thread_has_but_its_lifetime(client, alice, engine):
    rows = make_rows(alice, "word", shared=True)
    Thread.objects.update(ttl_minutes=5, expires_at=rows.thread.updated_at, title="Title", status="error", pinned=True)
    source = client.get(f"/threads/{rows.thread.pk}").json()
    response = client.post(f"/threads/{rows.thread.pk}/copy")
    copied = response.json()
    assert response.status_code == 200
    new = {"thread_id", "created_at", "updated_at", "state_updated_at"}
    assert {key: copied[key] for key in copied.keys() - new} == {key: source[key] for key in source.keys() - new}
    assert all(copied[key] > source[key] for key in new)
    ((method, asked),) = engine.questions
    assert (method, asked["source"], asked["thread_id"]) == ("copy", rows.thread.pk, copied["thread_id"])
    assert client.get(f"/threads/{copied['thread_id']}?include=ttl").json() == copied | {"ttl": None}
    made = Thread.objects.get(pk=copied["thread_id"])
    assert (made.owner_id, made.shared, made.graph_id, made.last_position) == (alice.pk, False, "echo", 1)
    assert Run.objects.filter(thread=made).count() == 0


def test_a_copy_of_a_busy_thread_has_what_was_committed(client, alice, engine):
    thread = make_rows(alice, "word").thread
    make_run(tenant_of(alice), thread)
    copied = client.post(f"/threads/{thread.pk}/copy").json()
    assert [(method, asked["thread_id"]) for method, asked in engine.questions] == [
        ("copy", copied["thread_id"]),
        ("state", copied["thread_id"]),
    ]
    assert (copied["values"], copied["status"], copied["error"]) == (STATE["values"], "idle", None)


class Meanwhile(dict):
    """Answers of an engine that takes its time: something happens before `copy` is answered."""

    def __init__(self, answers, happens):
        super().__init__(answers)
        self._happens = happens

    def __getitem__(self, method):
        if method == "copy":
            thread = threading.Thread(target=self._happen)
            thread.start()
            thread.join()
        return super().__getitem__(method)

    def _happen(self):
        self._happens()
        connections.close_all()


@pytest.mark.django_db(transaction=True)
def test_a_copy_that_a_run_comes_before_has_what_it_left(client, alice, engine):
    thread = make_rows(alice, "word").thread
    thread.refresh_from_db()
    engine.answers = Meanwhile(engine.answers, lambda: make_run(tenant_of(alice), thread))
    copied = client.post(f"/threads/{thread.pk}/copy").json()
    assert [method for method, _ in engine.questions] == ["copy", "state"]
    assert (copied["values"], copied["status"]) == (STATE["values"], "idle")


@pytest.mark.parametrize(("failure", "status"), FAILURES, ids=repr)
def test_of_a_copy_that_fails_nothing_is_left(client, alice, engine, failure, status):
    source = make_rows(alice, "word").thread
    engine.error = failure
    assert client.post(f"/threads/{source.pk}/copy").status_code == status
    assert visible(client) == [source.pk] and Thread.objects.count() == 1
    assert Purge.objects.count() == 1


def test_a_thread_that_is_not_whole_yet_is_not_listed(client, alice):
    tenant = tenant_of(alice)
    lifecycle.withhold_thread(
        "half", fresh=True, organization_id=tenant.organization_id, owner_id=tenant.user_id, metadata={}
    )
    assert visible(client) == [] and client.post("/threads/count", {}).json() == 0


def test_pruned_threads_are_gone_and_counted(client, alice, bob, charlie, engine):
    mine, busy = (make_rows(alice, "a").thread.pk for _ in range(2))
    make_run(tenant_of(alice), Thread.objects.get(pk=busy))
    others = [make_thread(tenant_of(user)).pk for user in (bob, charlie)]
    names = [mine, busy, mine, *others, "unknown", "", "a b", "x" * 500]
    response = client.post("/threads/prune", {"thread_ids": names})
    assert (response.status_code, response.json()) == (200, {"pruned_count": 2})
    assert sorted(Thread.objects.values_list("pk", flat=True)) == sorted(others)
    assert client.post("/threads/prune", {"thread_ids": names}).json() == {"pruned_count": 0}


def test_threads_pruned_to_their_latest_state_stay_and_the_busy_are_passed_over(client, alice, charlie, engine):
    mine, busy = (make_rows(alice, "a").thread for _ in range(2))
    mine.refresh_from_db()
    make_run(tenant_of(alice), busy)
    foreign = make_thread(tenant_of(charlie))
    names = [mine.pk, busy.pk, foreign.pk]
    response = client.post("/threads/prune", {"thread_ids": names, "strategy": "keep_latest"})
    assert response.json() == {"pruned_count": 1}
    ((method, asked),) = engine.questions
    assert (method, asked["thread_id"], asked["position"]) == ("keep_latest", mine.pk, mine.last_position + 1)
    assert Thread.objects.count() == 3
    before = client.get(f"/threads/{mine.pk}").json()
    engine.error = CallRefused(422, "made of all states")
    assert client.post("/threads/prune", {"thread_ids": names, "strategy": "keep_latest"}).json()["pruned_count"] == 0
    assert client.get(f"/threads/{mine.pk}").json() == before


@pytest.mark.parametrize(
    "wrong",
    [{}, {"thread_ids": "x"}, {"thread_ids": [1]}, {"thread_ids": ["x"] * 1001}, {"thread_ids": [], "strategy": "all"}],
    ids=lambda wrong: str(wrong)[:40],
)
def test_a_pruning_that_can_not_be_is_refused(client, wrong):
    assert client.post("/threads/prune", wrong).status_code == 422


def test_what_a_thread_takes_up_is_told(client, alice, bob, engine):
    thread = make_rows(alice, "a").thread
    assert client.get(f"/threads/{thread.pk}/storage").json() == STORAGE
    assert api_client(bob).get(f"/threads/{thread.pk}/storage").status_code == 404


def test_a_deleted_thread_leaves_no_row(client, alice):
    rows = make_rows(alice, "a")
    running = make_run(tenant_of(alice), rows.thread)
    assert client.delete(f"/api/threads/{rows.thread.pk}").status_code == 204
    for model in (Thread, Run, EventChunk, Message):
        assert not model.objects.exists(), model
    assert [purge.pk for purge in Purge.objects.all()] == [running.thread_id]


def test_state_is_written_by_checkpoint(client, alice, engine):
    path = f"/threads/{make_rows(alice, 'word').thread.pk}/state"
    client.post(path, {"values": None, "as_node": "one", "checkpoint": CHECKPOINT | {"thread_id": None}})
    asked = engine.questions[-1][1]
    assert asked["checkpoint"]["checkpoint_id"] == CHECKPOINT["checkpoint_id"] and asked["values"] is None
    foreign = {"values": {}, "checkpoint": {"thread_id": "another", "checkpoint_id": "c"}}
    assert client.post(path, foreign).status_code == 404


def test_a_thread_that_is_not_whole_yet_is_nobody_s_to_use(client, alice):
    """Its maker may have died: what were taken for a thread would be deleted with all that came to it."""
    thread = make_thread(tenant_of(alice), temporary=True, last_position=1)
    for body in ({}, {"if_exists": "do_nothing"}):
        assert client.post("/api/threads", body | {"thread_id": thread.pk}).status_code == 409
    run = {"assistant_id": "echo", "input": {}}
    assert client.post(f"/threads/{thread.pk}/runs", run).status_code == 409
    named = {"config": {"configurable": {"thread_id": thread.pk}}}
    assert client.post("/runs", run | named).status_code == 409
    assert not Run.objects.exists()
