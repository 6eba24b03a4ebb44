"""A message in whose middle its process is killed, as the Python SDK reads it."""

import asyncio
import os
import signal
from typing import Any

import pytest
from langgraph_sdk import get_client

from tests.e2e.servers import MakeServer

HELLO: Any = {"messages": [{"role": "user", "content": "hello"}]}
SLOW: Any = {"configurable": {"n": 10, "delay": 0.2}}
WHOLE = "".join(f"word{number} " for number in range(10))


async def test_a_reader_of_a_torn_message_hears_of_its_end_and_then_the_next_attempt(
    make_server: MakeServer, key: str
) -> None:
    server = make_server().start()
    async with (
        get_client(url=server.url, api_key=key) as client,
        client.threads.stream(assistant_id="tokens", headers={"X-Api-Key": key}) as thread,
    ):
        await thread.run.start(input=HELLO, config=SLOW)
        messages = aiter(thread.messages)
        torn = await anext(messages)
        pieces = aiter(torn.text)
        next_message = asyncio.ensure_future(anext(messages))
        assert await anext(pieces) == "word0 "
        for pid in server.engine_pids():
            os.kill(pid, signal.SIGKILL)
        whole = await next_message
        assert [message async for message in messages] == []
        with pytest.raises(RuntimeError, match="lost its process"):
            await torn.output
        assert await whole.text == WHOLE
        assert (await thread.output)["messages"][-1]["content"] == WHOLE
