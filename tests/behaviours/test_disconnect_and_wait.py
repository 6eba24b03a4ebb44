"""Readers that leave and come back, and callers that wait for the end."""

import httpx
from langgraph_sdk import get_client

from tests.behaviours.asking import background, end_of, new_thread, said, status_of
from tests.e2e.server import Server
from tests.e2e.wire import events_of, names_of, request, whole_frames


async def test_who_comes_back_to_a_run_that_went_on_gets_all_of_it(
    server: Server, key: str, http: httpx.AsyncClient
) -> None:
    thread_id = new_thread()
    plan = {"steps": 4, "delay": 0.3}
    body = {"assistant_id": "stress", "input": plan, "on_disconnect": "continue", "stream_mode": "updates"}
    async with request(server.url, key, "POST", f"/api/threads/{thread_id}/runs/stream", body) as reply:
        seen = whole_frames(events_of(await reply.read_to(b"event: updates")))
    run_id = reply.headers["content-location"].rpartition("/")[2]
    again = await http.get(f"/threads/{thread_id}/runs/{run_id}/join", headers={"accept": "text/event-stream"})
    whole = events_of(again.content)
    assert whole.startswith(seen) and names_of(whole) == ["metadata", *["updates"] * 5, "end"]
    assert await status_of(http, thread_id, run_id) == "success"


async def test_to_leave_after_the_end_changes_nothing(server: Server, key: str, http: httpx.AsyncClient) -> None:
    ended, left = new_thread(), new_thread()
    body = {"assistant_id": "echo", "input": said("hello"), "on_disconnect": "cancel"}
    async with request(server.url, key, "POST", f"/api/threads/{ended}/runs/stream", body) as reply:
        assert names_of(await reply.read())[-1] == "end"
    run_id = reply.headers["content-location"].rpartition("/")[2]
    # When a reader that left later has taken its run along, this one would have.
    body |= {"assistant_id": "stress", "input": {"hang": "async"}}
    async with request(server.url, key, "POST", f"/api/threads/{left}/runs/stream", body) as reply:
        pass
    assert await end_of(http, left, reply.headers["content-location"].rpartition("/")[2]) == "interrupted"
    assert await status_of(http, ended, run_id) == "success"
    assert (await http.get(f"/threads/{ended}")).json()["status"] == "idle"


async def test_who_waits_is_answered_with_the_values_or_with_what_went_wrong(http: httpx.AsyncClient) -> None:
    thread_id = new_thread()
    path = f"/threads/{thread_id}/runs/wait"
    good = await http.post(path, json={"assistant_id": "echo", "input": said("hello")})
    assert (good.status_code, [message["content"] for message in good.json()["messages"]]) == (
        200,
        ["hello", "echo: hello"],
    )
    # That there is a checkpoint by now does not make it a success.
    bad = await http.post(path, json={"assistant_id": "fail", "input": said("hello")})
    error = {"error": "ValueError", "message": "this graph always fails"}
    assert (bad.status_code, bad.json()) == (
        200,
        {"__error__": error, "status": "error", "error": "this graph always fails"},
    )


async def test_an_empty_body_runs_the_default_assistant_without_input(http: httpx.AsyncClient) -> None:
    """On a new thread there is nothing to go on from; after an update of its state there is."""
    nothing = await http.post(f"/threads/{new_thread()}/runs/wait", json={})
    assert (nothing.status_code, nothing.json()["error"]) == (200, "Received no input for __start__")
    thread_id = new_thread()
    await http.post(f"/threads/{thread_id}/runs/wait", json={"input": said("hello")})
    again = await http.post(f"/threads/{thread_id}/runs/wait", json={})
    assert (again.status_code, len(again.json()["messages"])) == (200, 2)


async def test_a_caller_of_a_cancelled_run_gets_what_its_finished_steps_left(
    server: Server, key: str, http: httpx.AsyncClient
) -> None:
    thread_id = new_thread()
    run_id = await background(http, thread_id, "stress", {"steps": 9, "hang": "async", "hang_at": 2})
    async with get_client(url=f"{server.url}/api", api_key=key) as client:
        async for part in client.runs.join_stream(thread_id, run_id):
            if part.event == "values" and part.data.get("done") == [0, 1]:
                break
        await client.runs.cancel(thread_id, run_id, wait=True)
        left = await client.runs.join(thread_id, run_id)
        state = await client.threads.get_state(thread_id)
    assert left["done"] == [0, 1] and left == state["values"]
