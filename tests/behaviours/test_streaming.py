"""Streams: each has its own run's events, whole and under their names."""

import asyncio

import httpx
import pytest

from tests.behaviours.asking import background, frames, new_thread, said

MODES = ["values", "updates", "messages-tuple", "custom", "debug", "tasks", "checkpoints", "events"]


async def test_streams_hold_the_events_of_their_own_run_alone(http: httpx.AsyncClient) -> None:
    """Two runs at once on each of two threads: one runs, one waits, all four are followed."""
    one, other = new_thread(), new_thread()
    asked = {"multitask_strategy": "enqueue", "stream_mode": "updates"}
    plan = {"steps": 3, "delay": 0.1, "tokens": 1}
    made = [(thread_id, await background(http, thread_id, "stress", plan, **asked)) for thread_id in (one, other) * 2]
    replies = await asyncio.gather(
        *(http.get(f"/threads/{thread_id}/runs/{run_id}/stream") for thread_id, run_id in made)
    )
    for (thread_id, run_id), reply in zip(made, replies, strict=True):
        (_, about), *updates, end = frames(reply.text)
        assert (about["thread_id"], about["run_id"], end) == (thread_id, run_id, ("end", None))
        assert [event for event, _ in updates] == ["updates"] * 4
        assert [data["work"]["step"] for _, data in updates[1:]] == [1, 2, 3]
        assert not any(another in reply.text for _, another in made if another != run_id)


@pytest.mark.parametrize("mode", ["values", "updates", "messages-tuple", "debug"])
async def test_events_of_a_subgraph_name_it_and_the_graphs_own_do_not(http: httpx.AsyncClient, mode: str) -> None:
    body = {"assistant_id": "custom", "input": said("hello"), "stream_mode": [mode], "stream_subgraphs": True}
    stream = frames((await http.post(f"/threads/{new_thread()}/runs/stream", json=body)).text)
    name = mode.removesuffix("-tuple")
    names = {event.partition(":")[0] for event, _ in stream}
    assert names - {name} == {"metadata", f"{name}|child", "end"}
    assert name in names or mode == "messages-tuple"
    body["stream_subgraphs"] = False
    flat = frames((await http.post(f"/threads/{new_thread()}/runs/stream", json=body)).text)
    assert not any("|" in event for event, _ in flat)


@pytest.mark.parametrize("value", ["", "nan", "nul", "surrogate", "lambda", "deep"])
async def test_the_data_of_each_frame_is_json_whatever_the_graph_says(http: httpx.AsyncClient, value: str) -> None:
    plan = {"tokens": 2} | ({"value": value} if value else {})
    body = {"assistant_id": "stress", "input": plan, "stream_mode": MODES, "stream_subgraphs": True}
    reply = await http.post(f"/threads/{new_thread()}/runs/stream", json=body)
    # Nothing else can be read as frames.
    stream = frames(reply.text)
    assert {event for event, _ in stream} >= {"metadata", "values", "updates", "events", "debug", "tasks"}
    assert stream[-1] == ("end", None)
    assert not any(word in reply.text for word in ("NaN", "Infinity", "\\ud800"))


async def test_a_sign_of_life_has_no_number(http: httpx.AsyncClient) -> None:
    body = {"assistant_id": "stress", "input": {"delay": 1.8}, "stream_mode": "updates"}
    stream = (await http.post(f"/threads/{new_thread()}/runs/stream", json=body)).text
    signs = [block for block in stream.split("\r\n\r\n") if block.startswith(":")]
    assert signs and set(signs) == {": heartbeat"}
    assert stream.count("\r\nid: ") == len(frames(stream))
