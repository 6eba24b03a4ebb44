"""A run that emits all the while, but nothing that this reader gets: the connection is kept alive all the same."""

from typing import Any

import pytest

from tests.e2e.server import Server
from tests.e2e.wire import HEARTBEAT, request

#: Two seconds of tokens, which only the mode `messages-tuple` shows. Servers of these tests beat twice a second.
TALKING: dict[str, Any] = {
    "assistant_id": "stress",
    "input": {"tokens": 40, "token_delay": 0.05},
    "stream_mode": ["messages-tuple", "custom"],
}


async def test_a_reader_of_another_mode_gets_comments(server: Server, key: str) -> None:
    async with request(server.url, key, "POST", "/runs/stream", TALKING) as run:
        place = f"{run.headers['location']}?stream_mode=custom"
        async with request(server.url, key, "GET", place) as reader:
            assert (await reader.read()).count(HEARTBEAT) >= 2
        await run.read()


async def test_wait_sends_line_breaks(server: Server, key: str) -> None:
    async with request(server.url, key, "POST", "/runs/wait", TALKING) as reply:
        assert (await reply.read()).startswith(b"\n\n")


@pytest.mark.parametrize(("method", "beat"), [("stream", HEARTBEAT), ("wait", b"\n")], ids=["stream", "wait"])
async def test_a_run_that_waits_its_turn_keeps_its_reader(server: Server, key: str, method: str, beat: bytes) -> None:
    thread = f"/threads/talking-{method}/runs"
    behind = {"assistant_id": "echo", "input": {"messages": []}, "multitask_strategy": "enqueue"}
    async with request(server.url, key, "POST", f"{thread}/stream", TALKING) as run:
        async with request(server.url, key, "POST", f"{thread}/{method}", behind) as reader:
            assert (await reader.read()).count(beat) >= 2
        await run.read()
