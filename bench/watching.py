"""Clients of the Agent Streaming Protocol that cost as little as they can: what comes is counted, hardly looked at."""

import asyncio
import json
import socket
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from bench.client import Unexpected, check

SSE, WEBSOCKET = "sse", "websocket"
TRANSPORTS = (SSE, WEBSOCKET)

#: In the event that ends a run, and in no other of the graphs that are measured; whatever the model says, it is quoted.
_ENDS = (b'"data":{"event":"completed"', b'"data":{"event":"failed"', b'"data":{"event":"interrupted"')
_EVENT = b"\nevent:"
#: The smallest buffer that the kernel gives: a slow reader is to be slow for the server.
_SMALL_BUFFER = 4096

_WANTED = b'{"channels":["lifecycle","custom"]}'
_COMMAND = b'{"id":1,"method":"subscription.subscribe","params":%b}' % _WANTED
#: One frame of text, masked with zeros.
_SUBSCRIBE = bytes([0x81, 0x80 | len(_COMMAND)]) + bytes(4) + _COMMAND


class Protocol:
    """One server. Every thread is new, and made by the run that is started on it."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._key = key

    def thread(self) -> str:
        """The id of a thread that is not there yet."""
        return str(uuid.uuid4())

    async def start(self, thread: str, graph: str, **options: Any) -> str:
        """Start a run with this `configurable`; answers its id."""
        given = {"messages": [{"role": "user", "content": "hi"}]} if graph == "tokens" else {}
        params = {"assistant_id": graph, "input": given, "config": {"configurable": options}}
        command = {"id": 1, "method": "run.start", "params": params}
        async with self._session.post(f"{self._url}/threads/{thread}/commands", json=command) as response:
            await check(response)
            answer = await response.json()
        if answer["type"] != "success":
            raise Unexpected(f"run.start: {answer}")
        return str(answer["result"]["run_id"])

    async def cancel(self, thread: str, run: str) -> None:
        async with self._session.post(f"{self._url}/threads/{thread}/runs/{run}/cancel") as response:
            await check(response)

    def parts(
        self, transport: str, thread: str, *channels: str
    ) -> AbstractAsyncContextManager[AsyncIterator[tuple[int, bytes]]]:
        """A subscription that the server has answered; as it goes on: the events of each part, and its bytes."""
        wanted = {"channels": list(channels)}
        return self._frames(thread, wanted) if transport == SSE else self._messages(thread, wanted)

    @asynccontextmanager
    async def _frames(self, thread: str, wanted: Any) -> AsyncIterator[AsyncIterator[tuple[int, bytes]]]:
        async with self._session.post(self._place(thread), json=wanted) as response:
            await check(response)
            yield _counted(response.content)

    @asynccontextmanager
    async def _messages(self, thread: str, wanted: Any) -> AsyncIterator[AsyncIterator[tuple[int, bytes]]]:
        async with self._session.ws_connect(self._place(thread), max_msg_size=0) as websocket:
            await websocket.send_json({"id": 1, "method": "subscription.subscribe", "params": wanted})
            early = []
            # What is replayed comes before the answer.
            while (answer := await websocket.receive_json())["type"] == "event":
                early.append(json.dumps(answer, separators=(",", ":")).encode())
            if answer["type"] != "success":
                raise Unexpected(f"subscription.subscribe: {answer}")
            yield _received(websocket, early)

    async def read_run(self, transport: str, thread: str, *channels: str, opened: asyncio.Event) -> int:
        """How many events the subscription brings until the end of a run."""
        events = 0
        tail = b""
        async with self.parts(transport, thread, "lifecycle", *channels) as parts:
            opened.set()
            async for count, part in parts:
                events += count
                if any(end in tail + part for end in _ENDS):
                    return events
                tail = part[-64:]
        raise Unexpected("the stream ended before its run")

    async def crawl(self, transport: str, thread: str, rate: int, opened: asyncio.Event) -> int:
        """Take `rate` bytes each second until the server ends the connection, or for ever; answers how many came."""
        loop = asyncio.get_running_loop()
        address = urlsplit(self._url)
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
            connection.setblocking(False)
            await loop.sock_connect(connection, (address.hostname, address.port))
            await loop.sock_sendall(connection, self._request(transport, thread))
            answer = b""
            while not answer.endswith(b"\r\n\r\n"):
                answer += await loop.sock_recv(connection, 1)
            if transport == WEBSOCKET:
                await loop.sock_sendall(connection, _SUBSCRIBE)
            taken = 0
            while piece := await loop.sock_recv(connection, rate):
                opened.set()
                taken += len(piece)
                await asyncio.sleep(1)
        return taken

    def _request(self, transport: str, thread: str) -> bytes:
        """The request for everything, or for a WebSocket."""
        head = f"/threads/{thread}/stream/events HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: {self._key}\r\n"
        if transport == SSE:
            head = f"POST {head}Content-Type: application/json\r\nContent-Length: {len(_WANTED)}\r\n\r\n"
            return head.encode() + _WANTED
        head = f"GET {head}Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        return f"{head}Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()

    def _place(self, thread: str) -> str:
        return f"{self._url}/threads/{thread}/stream/events"


async def _counted(content: aiohttp.StreamReader) -> AsyncIterator[tuple[int, bytes]]:
    tail = b"\n"
    async for part in content.iter_any():
        yield (tail + part).count(_EVENT), part
        # One byte short of what is counted, so that nothing is counted twice.
        tail = (tail + part)[1 - len(_EVENT) :]


async def _received(websocket: aiohttp.ClientWebSocketResponse, early: list[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    for part in early:
        yield 1, part
    async for message in websocket:
        if message.type is aiohttp.WSMsgType.TEXT:
            yield 1, message.data.encode()
