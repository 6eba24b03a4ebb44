"""Threads and their states: times, changes and what came before."""

from datetime import datetime
from typing import Any

import httpx
from rest_framework.test import APIClient

from accounts.models import User
from tests.api.rows import make_rows
from tests.behaviours.asking import background, new_thread, said
from tests.factories import make_run, tenant_of

_TIMES = {"created_at", "updated_at", "state_updated_at", "next_run_date", "end_time"}


def times_of(row: dict[str, Any]) -> dict[str, datetime]:
    return {key: datetime.fromisoformat(row[key]) for key in _TIMES & set(row) if row[key]}


def test_every_time_says_its_zone(api: APIClient, alice: User) -> None:
    rows = make_rows(alice, "word")
    make_run(tenant_of(alice), rows.thread)
    shown = [
        api.post("/api/threads", {"ttl": 5}).json(),
        api.get(f"/api/threads/{rows.thread.pk}").json(),
        *api.post("/api/threads/search", {}).json(),
        *api.get(f"/api/threads/{rows.thread.pk}/runs").json(),
        api.get(f"/api/assistants/{rows.assistant.pk}").json(),
        *api.post("/api/assistants/search", {}).json(),
        api.get(f"/api/runs/crons/{rows.cron.pk}").json(),
    ]
    for row in shown:
        times = times_of(row)
        assert len(times) >= 2
        assert all(moment.tzinfo is not None for moment in times.values()), times


async def test_each_change_of_state_is_a_new_checkpoint(http: httpx.AsyncClient) -> None:
    thread_id = new_thread()
    await http.post(f"/threads/{thread_id}/runs/wait", json={"assistant_id": "echo", "input": said("hello")})
    path = f"/threads/{thread_id}"

    async def history() -> list[str]:
        states = (await http.get(f"{path}/history", params={"limit": 100})).json()
        return [state["checkpoint_id"] for state in states]

    before = await history()
    made = [(await http.post(f"{path}/state", json={"values": said("more")})).json() for _ in range(2)]
    assert await history() == [made[1]["checkpoint_id"], made[0]["checkpoint_id"], *before]
    state = (await http.get(f"{path}/state")).json()
    assert state["checkpoint_id"] == made[1]["checkpoint_id"]
    # Channels take what they are given in their own way: messages are added.
    assert [message["content"] for message in state["values"]["messages"]] == ["hello", "echo: hello", "more", "more"]


async def test_a_change_of_state_that_can_not_be_writes_nothing(http: httpx.AsyncClient) -> None:
    thread_id = new_thread()
    await http.post(f"/threads/{thread_id}/runs/wait", json={"assistant_id": "echo", "input": said("hello")})
    path = f"/threads/{thread_id}"
    before = (await http.get(f"{path}/history")).json()
    unknown = "1f0a0000-0000-6000-8000-000000000001"
    for wrong, status in (
        ({"surprise": 1}, 422),
        ({"checkpoint_id": unknown}, 404),
        ({"checkpoint": {"checkpoint_id": unknown}}, 404),
        ({"as_node": "nobody"}, 422),
        ({"values": {"nothing": 1}, "as_node": "nobody"}, 422),
    ):
        response = await http.post(f"{path}/state", json={"values": said("more"), **wrong})
        assert response.status_code == status, (wrong, response.text)
    assert (await http.get(f"{path}/history")).json() == before


async def test_history_is_newest_first_as_long_as_asked_and_tells_nothing_of_the_inside(
    http: httpx.AsyncClient,
) -> None:
    thread_id = new_thread()
    body = {"assistant_id": "slow", "input": said("hello"), "config": {"configurable": {"sleep": 0}}}
    await http.post(f"/threads/{thread_id}/runs/wait", json=body)
    path = f"/threads/{thread_id}/history"
    whole = (await http.get(path, params={"limit": 100})).json()
    assert [len(state["values"].get("steps", [])) for state in whole] == [5, 4, 3, 2, 1, 0, 0]
    assert (await http.get(path, params={"limit": 3})).json() == whole[:3]
    rest = await http.post(path, json={"limit": 100, "before": whole[2]["checkpoint_id"]})
    assert rest.json() == whole[3:]
    for state in whole:
        inside = [key for key in state["metadata"] if key.startswith(("__", "langgraph_auth", "organization"))]
        assert inside == [] and "writer" not in state["metadata"]


async def test_a_thread_that_is_gone_can_not_be_deleted_again(http: httpx.AsyncClient) -> None:
    thread_id = new_thread()
    await background(http, thread_id, "stress", {"delay": 3600})
    answers = [await http.delete(f"/threads/{thread_id}") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [204, 404]
    for odd in ("..%2f..%2fetc", "%2e%2e", "..%5cetc", "%00"):
        assert (await http.delete(f"/threads/{odd}")).status_code == 404
