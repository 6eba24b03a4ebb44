"""A stream that was cut anywhere and resumed after its last whole frame is the uncut stream, byte for byte."""

import asyncio
import itertools
import random
from collections.abc import Sequence
from typing import Any

import pytest
from langgraph_sdk.client import LangGraphClient

from tests.e2e.server import Server
from tests.e2e.wire import Reply, events_of, ids_of, names_of, request, whole_frames

MODES = [["values", "messages-tuple"], ["messages", "updates"]]
SPEECH = {"steps": 2, "tokens": 6, "token_bytes": 12}
_SEED = 20261120
#: Cuts around the end of a frame: between the bytes of the blank line, at its end, in the next frame.
_AROUND = (-1, 0, 1)


def read_run(server: Server, key: str, run: Any, after: int | None = None, **headers: str) -> Reply:
    if after is not None:
        headers["Last_Event_ID"] = str(after)
    return request(server.url, key, "GET", f"/threads/{run['thread_id']}/runs/{run['run_id']}/stream", **headers)


async def stream_of(server: Server, key: str, run: Any, after: int | None = None) -> bytes:
    async with read_run(server, key, run, after) as reply:
        assert reply.status == 200
        stream = await reply.read()
        assert reply.complete
    return events_of(stream)


async def read_with_cut(server: Server, key: str, run: Any, cut: int) -> bytes:
    """What a reader puts together whose connection is cut after so many bytes, and who comes back."""
    async with read_run(server, key, run) as reply:
        stream = events_of(await reply.read_at_least(cut))
    kept = whole_frames(stream[:cut])
    last = ids_of(kept)[-1] if kept else None
    return kept + await stream_of(server, key, run, last)


def cuts_of(stream: bytes) -> Sequence[int]:
    """Where to cut: around the end of each frame, and somewhere within each.

    They stand for all bytes: a reader keeps the same of a stream that was cut anywhere between two of these ends, the
    frames before it, and comes back with the same cursor.
    """
    ends = [i + 4 for i in range(len(stream)) if stream.startswith(b"\r\n\r\n", i)]
    chance = random.Random(_SEED)
    within = {chance.randrange(begin, end) for begin, end in itertools.pairwise([0, *ends])}
    borders = {end + offset for end in ends for offset in _AROUND}
    return sorted((within | borders) & set(range(len(stream))))


async def start(client: LangGraphClient, modes: list[str], **plan: Any) -> Any:
    thread = await client.threads.create()
    return await client.runs.create(thread["thread_id"], "stress", input={**SPEECH, **plan}, stream_mode=modes)  # type: ignore[arg-type]


@pytest.mark.parametrize("modes", MODES, ids=["tuple", "whole"])
async def test_a_cut_stream_of_a_finished_run_is_resumed_without_a_seam(
    server: Server, key: str, client: LangGraphClient, modes: list[str]
) -> None:
    run = await start(client, modes)
    await client.runs.join(run["thread_id"], run["run_id"])
    whole = await stream_of(server, key, run)
    for cut in cuts_of(whole):
        assert await read_with_cut(server, key, run, cut) == whole, f"cut after {cut} bytes"


@pytest.mark.parametrize("modes", MODES, ids=["tuple", "whole"])
async def test_a_cut_stream_of_a_live_run_is_resumed_without_a_seam(
    server: Server, key: str, client: LangGraphClient, modes: list[str]
) -> None:
    # A finished run of the same plan tells how long the stream will be.
    run = await start(client, modes)
    await client.runs.join(run["thread_id"], run["run_id"])
    cuts = cuts_of(await stream_of(server, key, run))
    run = await start(client, modes, token_delay=0.15)
    whole, *pieced = await asyncio.gather(
        stream_of(server, key, run), *(read_with_cut(server, key, run, cut) for cut in cuts)
    )
    assert names_of(whole)[0] == "metadata" and names_of(whole)[-1] == "end"
    for cut, stream in zip(cuts, pieced, strict=True):
        assert stream == whole, f"cut after {cut} bytes"


async def test_a_cut_stream_of_the_request_that_made_the_run_is_resumed_at_its_location(
    server: Server, key: str
) -> None:
    body = {"assistant_id": "stress", "input": {**SPEECH, "token_delay": 0.05}}
    async with request(server.url, key, "POST", "/runs/stream", body) as reply:
        # On a busy machine more of it may have come, to its end.
        kept = whole_frames(events_of(await reply.read_at_least(300))[:300])
        location = reply.headers["location"]
    async with request(server.url, key, "GET", location, Last_Event_ID=str(ids_of(kept)[-1])) as reply:
        rest = events_of(await reply.read())
    async with request(server.url, key, "GET", location) as reply:
        assert events_of(await reply.read()) == kept + rest


async def test_a_reader_that_comes_late_to_a_live_run_gets_it_from_its_first_event(
    server: Server, key: str, client: LangGraphClient
) -> None:
    run = await start(client, ["updates"], steps=5, tokens=0, delay=0.1)
    async with read_run(server, key, run) as reply:
        early = await reply.read_to(b"event: updates")
        late = asyncio.create_task(stream_of(server, key, run))
        early = await reply.read()
    assert events_of(early) == await late


# The stream of a finished run.


@pytest.fixture
async def finished(client: LangGraphClient) -> Any:
    """The second run of a thread, so that its first event is not the thread's."""
    first = await start(client, ["updates"])
    await client.runs.join(first["thread_id"], first["run_id"])
    run = await client.runs.create(first["thread_id"], "stress", input={"steps": 3}, stream_mode="updates")
    await client.runs.join(run["thread_id"], run["run_id"])
    return run


async def test_a_finished_run_is_read_from_its_first_event_to_its_end(server: Server, key: str, finished: Any) -> None:
    stream = await stream_of(server, key, finished)
    assert names_of(stream) == ["metadata", *["updates"] * 4, "end"]
    assert finished["run_id"].encode() in stream


@pytest.mark.parametrize("cursor", ["-1", "0"])
async def test_a_cursor_before_everything_is_the_beginning(
    server: Server, key: str, finished: Any, cursor: str
) -> None:
    whole = await stream_of(server, key, finished)
    async with read_run(server, key, finished, Last_Event_ID=cursor) as reply:
        assert await reply.read() == whole


async def test_every_id_of_a_finished_run_gives_the_rest_after_it(server: Server, key: str, finished: Any) -> None:
    whole = await stream_of(server, key, finished)
    for number in ids_of(whole)[:-1]:
        rest = whole.partition(b"id: %d\r\n\r\n" % number)[2]
        assert await stream_of(server, key, finished, number) == rest


@pytest.mark.parametrize("beyond", [0, 1, 10**9])
async def test_a_cursor_at_or_beyond_the_end_of_a_finished_run_gives_an_end_at_most(
    server: Server, key: str, finished: Any, beyond: int
) -> None:
    last = ids_of(await stream_of(server, key, finished))[-1]
    async with read_run(server, key, finished, last + beyond) as reply:
        # At once: no heartbeat comes before it.
        assert (await reply.read()).startswith(b"event: end")
    assert names_of(reply.body) == ["end"] and reply.complete


@pytest.mark.parametrize("cursor", ["x", "1.5", "-2", "99999999999999999999", "1 2", "\xb2"])
async def test_a_cursor_that_can_not_be_read_is_refused(server: Server, key: str, finished: Any, cursor: str) -> None:
    async with read_run(server, key, finished, Last_Event_ID=cursor) as reply:
        assert reply.status == 422
        assert b"Last-Event-ID" in await reply.read()


async def test_a_cursor_beyond_a_live_run_gives_its_end_when_it_is_over(
    server: Server, key: str, client: LangGraphClient
) -> None:
    run = await start(client, ["updates"], delay=0.3)
    assert names_of(await stream_of(server, key, run, 10**9)) == ["end"]


# Silence.


async def test_wait_and_join_send_a_newline_in_every_silence(server: Server, key: str) -> None:
    body = {"assistant_id": "stress", "input": {"delay": 1.8}}
    async with (
        request(server.url, key, "POST", "/runs/wait", body) as wait,
        request(server.url, key, "GET", wait.headers["location"]) as join,
    ):
        bodies = await asyncio.gather(wait.read(), join.read())
    for answer in bodies:
        assert answer.startswith(b"\n\n") and answer.strip().startswith(b"{")


async def test_a_silent_stream_sends_comments(server: Server, key: str) -> None:
    body = {"assistant_id": "stress", "input": {"delay": 1.8}, "stream_mode": "updates"}
    async with request(server.url, key, "POST", "/runs/stream", body) as reply:
        stream = await reply.read()
    assert stream.count(b": heartbeat\r\n\r\n") >= 2
    assert names_of(stream) == ["metadata", "updates", "updates", "end"]
