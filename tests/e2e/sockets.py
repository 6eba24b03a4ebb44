"""WebSockets of a real server, for tests."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any
from uuid import uuid4

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.e2e.server import Server

_ALL = ["values", "updates", "messages", "tools", "lifecycle", "input", "checkpoints", "tasks", "custom"]
_ENDS = {"completed", "failed", "interrupted"}


class Socket:
    """A client of the Agent Streaming Protocol. Events that come while an answer is awaited are kept for `events`."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.kept: list[dict[str, Any]] = []
        self._ids = count(1)

    async def command(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._ids)
        await self.connection.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            said = json.loads(await self.connection.recv())
            if said["type"] != "event":
                assert said["id"] == number
                return dict(said)
            self.kept.append(said)

    async def subscribe(self, channels: list[str] | None = None, **wanted: Any) -> dict[str, Any]:
        answer = await self.command("subscription.subscribe", channels=channels or _ALL, **wanted)
        return dict(answer["result"])

    async def run(self, graph: str = "echo", text: str = "hi") -> dict[str, Any]:
        message = {"role": "user", "content": text}
        return await self.command("run.start", assistant_id=graph, input={"messages": [message]})

    async def until_end(self) -> list[dict[str, Any]]:
        """The events up to the end of a run."""
        while not (self.kept and is_end(self.kept[-1])):
            self.kept.append(json.loads(await self.connection.recv()))
        events, self.kept = self.kept, []
        return events

    async def closed(self) -> int:
        """The code with which the server closes it, once it does."""
        try:
            while True:
                await self.connection.recv()
        except ConnectionClosed as exc:
            assert exc.rcvd is not None, "it was cut without a close"
            return exc.rcvd.code


def is_end(event: dict[str, Any]) -> bool:
    params = event["params"]
    return event["method"] == "lifecycle" and not params["namespace"] and params["data"]["event"] in _ENDS


def address(server: Server, thread_id: str = "", query: str = "") -> str:
    base = server.url.replace("http://", "ws://")
    return f"{base}/threads/{thread_id or uuid4()}/stream/events{query}"


@asynccontextmanager
async def open_socket(
    server: Server, key: str = "", thread_id: str = "", *, query: str = "", origin: Any = None, **options: Any
) -> AsyncIterator[Socket]:
    headers = options.pop("headers", {}) | ({"x-api-key": key} if key else {})
    target = address(server, thread_id, query)
    async with connect(target, additional_headers=headers, origin=origin, max_size=None, **options) as connection:
        yield Socket(connection)


async def refusal(server: Server, **how: Any) -> int:
    """The status of a handshake that is refused, or the code with which what was opened is closed at once."""
    try:
        async with open_socket(server, **how) as socket:
            return await socket.closed()
    except InvalidStatus as exc:
        return exc.response.status_code
