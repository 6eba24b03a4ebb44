"""Clients of the Agent Streaming Protocol that come back with the number of what they saw last, on both transports."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable
from typing import Any

import httpx
import orjson
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidHandshake

from tests.faults.frames import FrameReader
from tests.faults.history import Frame, History, Reading

TRANSPORTS = ("sse", "websocket")
CHANNELS = ["values", "updates", "messages", "tools", "lifecycle", "input", "checkpoints", "tasks", "custom"]

#: Seconds of silence after which a client gives a connection up; every stream has a heartbeat twice a second.
_SILENCE = 60.0
_PAUSE = 0.2
_ENDS = {"completed", "failed", "interrupted"}
_READERS = 8
#: What a connection ends with that was cut, or that there was nobody to take.
_CUTS = (httpx.TransportError, ConnectionClosedError, InvalidHandshake, OSError, TimeoutError)


class Watcher:
    """One client, and one run that it starts on a thread of its own."""

    def __init__(self, url: str, key: str, transport: str, reading: Reading) -> None:
        self.reading = reading
        self._transport = transport
        self._socket_url = url.replace("http", "ws", 1) + self._place
        self._headers = {"X-Api-Key": key}
        self._http = httpx.AsyncClient(base_url=url, headers=self._headers, timeout=_SILENCE, trust_env=False)

    @property
    def _place(self) -> str:
        return f"/threads/{self.reading.thread_id}/stream/events"

    async def start(self, plan: dict[str, Any], history: History) -> None:
        """Start the run; its answer comes before anything is broken."""
        op = history.invoke(self.reading.client, "start", self.reading.thread_id)
        params = {"assistant_id": "stress", "input": plan}
        command = {"id": 1, "method": "run.start", "params": params}
        answer = await self._http.post(f"/threads/{self.reading.thread_id}/commands", json=command)
        op.run_id = self.reading.run_id = answer.json()["result"]["run_id"]
        history.answered(op, answer.status_code)

    async def watch(self) -> None:
        """Collect the events of the thread to the end of its run, each once, over as many connections as it takes."""
        try:
            while not self.reading.ended:
                with contextlib.suppress(*_CUTS):
                    await self._watch_once()
                await asyncio.sleep(_PAUSE)
        # Whatever it is, the report is to tell it.
        except Exception as exc:
            self.reading.failed = repr(exc)
        finally:
            await self._http.aclose()

    async def _watch_once(self) -> None:
        stream = self._frames() if self._transport == "sse" else self._messages()
        async with contextlib.aclosing(stream):
            self.reading.false_ends += await self._collect(stream)

    async def _collect(self, stream: AsyncGenerator[bytes]) -> bool:
        """Take the events of one connection; whether it was over as if complete before the run was."""
        seen = {frame.name for frame in self.reading.frames}
        async for data in stream:
            event = orjson.loads(data)
            if event["type"] != "event":
                continue
            if event["event_id"] not in seen:
                seen.add(event["event_id"])
                self.reading.frames.append(Frame(event["seq"], event["event_id"], data))
            if _ends_a_run(event):
                self.reading.ended = True
                return False
        return True

    def _wanted(self) -> dict[str, Any]:
        frames = self.reading.frames
        return {"channels": CHANNELS, "since": frames[-1].id if frames else 0}

    async def _frames(self) -> AsyncGenerator[bytes]:
        """The events of one connection for Server-Sent Events."""
        frames = FrameReader()
        async with self._http.stream("POST", self._place, json=self._wanted()) as response:
            if response.status_code != 200:
                raise TimeoutError
            self.reading.connections += 1
            async for piece in response.aiter_raw():
                for frame in frames.feed(piece):
                    yield frame.data.partition(b"data: ")[2].partition(b"\r\n")[0]

    async def _messages(self) -> AsyncGenerator[bytes]:
        """The events of one WebSocket, and the answers to its commands."""
        async with connect(
            self._socket_url, additional_headers=self._headers, max_size=None, open_timeout=_SILENCE, proxy=None
        ) as websocket:
            self.reading.connections += 1
            command = {"id": 1, "method": "subscription.subscribe", "params": self._wanted()}
            await websocket.send(orjson.dumps(command).decode())
            with contextlib.suppress(ConnectionClosedOK):
                while True:
                    async with asyncio.timeout(_SILENCE):
                        yield await websocket.recv(decode=False)


def _ends_a_run(event: dict[str, Any]) -> bool:
    params = event["params"]
    return event["method"] == "lifecycle" and not params["namespace"] and params["data"]["event"] in _ENDS


async def watch_again(url: str, key: str, watches: Iterable[Reading]) -> dict[str, list[Frame]]:
    """The events of each of these threads, whose runs have ended, from the first on."""
    turn = asyncio.Semaphore(_READERS)

    async def read(thread_id: str) -> list[Frame]:
        async with turn:
            watcher = Watcher(url, key, "sse", Reading("observer", thread_id))
            await watcher.watch()
            return watcher.reading.frames

    threads = [reading.thread_id for reading in watches]
    return dict(zip(threads, await asyncio.gather(*map(read, threads)), strict=True))
