"""Runs as a gateway shows them: what a stream begins and ends with, who waits for whom, who finds them."""

import re
from datetime import timedelta

import httpx
import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from runs.models import Run
from tests.api.engine import FakeEngine
from tests.api.rows import fingerprint
from tests.behaviours.asking import background, end_of, frames, new_thread, said, status_of
from tests.e2e.wire import ids_of
from tests.factories import make_run, make_thread, tenant_of

#: As the JavaScript client reads it, greedily: whatever follows the run's id is taken for a part of it.
_PLACE = re.compile(r"(/threads/(?P<thread_id>.+))?/runs/(?P<run_id>.+)")


async def test_a_stream_is_metadata_then_values_then_the_end(http: httpx.AsyncClient) -> None:
    thread_id = new_thread()
    body = {"assistant_id": "echo", "input": said("hello"), "stream_mode": "values"}
    reply = await http.post(f"/threads/{thread_id}/runs/stream", json=body)
    place = _PLACE.search(reply.headers["content-location"])
    (first, about), *values, last = frames(reply.text)
    assert place is not None and place["thread_id"] == thread_id
    assert (first, about) == ("metadata", {"run_id": place["run_id"], "thread_id": thread_id, "attempt": 1})
    assert [event for event, _ in values] == ["values"] * 2
    assert [message["content"] for message in values[-1][1]["messages"]] == ["hello", "echo: hello"]
    assert last == ("end", None)
    ids = ids_of(reply.content)
    assert len(ids) == 4 and ids == sorted(set(ids))


async def test_a_first_turn_leaves_a_title_an_idle_thread_and_both_messages(http: httpx.AsyncClient) -> None:
    thread_id = new_thread()
    body = {"assistant_id": "lead_agent", "input": said("How are you?")}
    values = (await http.post(f"/threads/{thread_id}/runs/wait", json=body)).json()
    [found] = (await http.post("/threads/search", json={"ids": [thread_id]})).json()
    assert found["status"] == "idle"
    assert found["title"] == found["values"]["title"] == values["title"] == "How are you?"
    rows = (await http.get(f"/threads/{thread_id}/messages/page")).json()["data"]
    assert [row["event_type"] for row in rows] == ["llm.human.input", "llm.ai.response"]
    assert [row["content"]["content"] for row in rows] == [message["content"] for message in values["messages"]]


async def test_a_run_begins_when_the_one_that_it_ended_has_settled(http: httpx.AsyncClient) -> None:
    thread_id = new_thread()
    first = await background(http, thread_id, "stress", {"delay": 3600})
    second = await background(http, thread_id, "echo", said("now"), multitask_strategy="interrupt")
    streams = [(await http.get(f"/threads/{thread_id}/runs/{run_id}/stream")) for run_id in (first, second)]
    assert [frames(stream.text)[-1] for stream in streams] == [("end", None)] * 2
    # They are numbered as they were written.
    assert ids_of(streams[0].content)[-1] < ids_of(streams[1].content)[0]
    assert [await status_of(http, thread_id, run_id) for run_id in (first, second)] == ["interrupted", "success"]


async def test_a_busy_thread_keeps_no_other_waiting(http: httpx.AsyncClient) -> None:
    busy = new_thread()
    slow = await background(http, busy, "stress", {"delay": 3600})
    fast = new_thread()
    assert await end_of(http, fast, await background(http, fast, "echo", said("hello"))) == "success"
    assert await status_of(http, busy, slow) in ("pending", "running")
    await http.post(f"/threads/{busy}/runs/{slow}/cancel?wait=true")


@pytest.mark.parametrize("strategy", ["interrupt", "rollback"])
def test_a_run_that_can_not_be_made_ends_no_other(
    api: APIClient, alice: User, engine: FakeEngine, strategy: str
) -> None:
    thread = make_thread(tenant_of(alice), graph_id="echo")
    make_run(tenant_of(alice), thread, status="running")
    make_run(tenant_of(alice), thread)
    before = fingerprint()
    engine.answers["has_checkpoint"] = False
    for wrong, status in (
        ({"assistant_id": "01890a5d-ac96-774b-bcce-b302099a8057"}, 404),
        ({"checkpoint_id": "1f0a0000-0000-6000-8000-000000000001"}, 404),
        ({"webhook": "http://127.0.0.1/"}, 422),
        ({"surprise": 1}, 422),
    ):
        body = {"assistant_id": "echo", "multitask_strategy": strategy, **wrong}
        assert api.post(f"/api/threads/{thread.pk}/runs", body).status_code == status
    assert fingerprint() == before


def test_a_run_that_is_being_cancelled_still_counts(api: APIClient, alice: User) -> None:
    run = make_run(tenant_of(alice), status="running")
    path = f"/api/threads/{run.thread_id}/runs"
    assert api.post(f"{path}/{run.pk}/cancel").status_code == 202
    assert api.post(path, {"assistant_id": "echo"}).status_code == 409
    made = api.post(path, {"assistant_id": "echo", "multitask_strategy": "interrupt"})
    assert (made.status_code, made.json()["status"]) == (200, "pending")
    run.refresh_from_db()
    assert (run.status, run.cancel_action) == ("running", "interrupt")


def test_runs_of_one_moment_are_always_listed_in_the_same_order(api: APIClient, alice: User) -> None:
    thread = make_thread(tenant_of(alice))
    made = [make_run(tenant_of(alice), thread, status="success") for _ in range(5)]
    Run.objects.update(created_at=timezone.now() - timedelta(days=1))
    path = f"/api/threads/{thread.pk}/runs"
    newest_first = [str(run.pk) for run in reversed(made)]
    assert [run["run_id"] for run in api.get(path).json()] == newest_first
    pages = [api.get(path, {"limit": 2, "offset": offset}).json() for offset in (0, 2, 4)]
    assert [run["run_id"] for page in pages for run in page] == newest_first


@pytest.mark.parametrize(
    ("method", "address"),
    [("GET", ""), ("DELETE", ""), ("GET", "/join"), ("GET", "/stream"), ("POST", "/stream"), ("POST", "/cancel")],
)
def test_a_run_is_found_on_its_own_thread_only(api: APIClient, alice: User, method: str, address: str) -> None:
    run = make_run(tenant_of(alice))
    elsewhere = make_thread(tenant_of(alice))
    before = fingerprint()
    for thread_id, run_id in (
        (elsewhere.pk, run.pk),
        (run.thread_id, elsewhere.pk),
        (elsewhere.pk, elsewhere.pk),
    ):
        response = api.generic(method, f"/api/threads/{thread_id}/runs/{run_id}{address}")
        assert (response.status_code, response.json()) == (404, {"detail": "Run not found."})
    assert fingerprint() == before
