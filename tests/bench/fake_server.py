"""A server of the protocol that runs nothing: it knows in advance what each graph that is measured would say."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

from aiohttp import web


class FakeServer:
    """Answers at once. `answer` is what echo says, `room` how many waiting streams it takes.

    `cancelled` are the runs that were asked to end, `most_streams` is how many waiting streams there were at one time.
    """

    def __init__(self, answer: str = "echo: hi") -> None:
        self.answer = answer
        self.room = 100
        self.cancelled: set[str] = set()
        self.most_streams = 0
        self._streams = 0
        self._bodies: dict[str, dict[str, Any]] = {}
        self._ends: dict[str, asyncio.Event] = {}

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/threads", self._thread)
        app.router.add_post("/runs/wait", self._wait)
        app.router.add_post("/threads/{thread}/runs", self._submit)
        app.router.add_post("/threads/{thread}/runs/wait", self._wait)
        app.router.add_post("/threads/{thread}/runs/stream", self._stream)
        app.router.add_get("/threads/{thread}/runs/{run}", self._status)
        app.router.add_get("/threads/{thread}/runs/{run}/stream", self._join)
        app.router.add_post("/threads/{thread}/runs/{run}/cancel", self._cancel)
        return app

    async def _thread(self, request: web.Request) -> web.Response:
        return web.json_response({"thread_id": "t"})

    async def _wait(self, request: web.Request) -> web.Response:
        return web.json_response({"messages": [{"content": "hi"}, {"content": self.answer}]})

    async def _submit(self, request: web.Request) -> web.Response:
        run_id = str(len(self._bodies))
        self._bodies[run_id] = await request.json()
        self._ends[run_id] = asyncio.Event()
        return web.json_response({"run_id": run_id, "status": "pending"})

    async def _status(self, request: web.Request) -> web.Response:
        waits = self._bodies[request.match_info["run"]]["assistant_id"] == "slow"
        return web.json_response({"status": "running" if waits else "success"})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        return await _send(request, await request.json())

    async def _join(self, request: web.Request) -> web.StreamResponse:
        run_id = request.match_info["run"]
        if self._bodies[run_id]["assistant_id"] != "slow":
            return await _send(request, self._bodies[run_id])
        if self._streams == self.room:
            return web.Response(status=503, text="no room")
        self._streams += 1
        self.most_streams = max(self.most_streams, self._streams)
        response = await _open(request)
        await self._ends[run_id].wait()
        self._streams -= 1
        return response

    async def _cancel(self, request: web.Request) -> web.Response:
        run_id = request.match_info["run"]
        self.cancelled.add(run_id)
        self._ends[run_id].set()
        return web.Response(status=202)


async def _open(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    return response


async def _send(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """The whole stream in parts of a few bytes, so that no border of theirs is one of the events'."""
    response = await _open(request)
    stream = "".join(_frames(body)).encode()
    for start in range(0, len(stream), 5):
        await response.write(stream[start : start + 5])
        await asyncio.sleep(0)
    return response


def _frames(body: dict[str, Any]) -> Iterator[str]:
    count = body.get("config", {}).get("configurable", {}).get("n", 1)
    for event in ("metadata", *["messages"] * count, "end"):
        yield f"event: {event}\ndata: {json.dumps({'text': 'event: no'})}\n\n"
