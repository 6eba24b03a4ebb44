"""The requests of one client, each noted in the history with what came of it."""

import asyncio
import random
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from tests.faults.frames import FrameReader
from tests.faults.history import History, Op, Reading

#: Seconds of silence after which a client gives a connection up; every stream has a heartbeat twice a second.
_SILENCE = 60.0
_PAUSE = 0.2
#: How often a client comes back to a stream that claims to be complete without an `end`.
_MOST_FALSE_ENDS = 10


@dataclass(frozen=True)
class Answer:
    """`status` is 0 when the answer was cut or never began; `run_id` is known as soon as its headers came."""

    status: int
    body: Any
    run_id: str

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


class Client:
    """One user's program: one request after the other, each on a connection of its own."""

    def __init__(self, name: str, url: str, key: str, history: History, chance: random.Random) -> None:
        self.name = name
        self.chance = chance
        self._history = history
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={"X-Api-Key": key},
            timeout=_SILENCE,
            limits=httpx.Limits(max_keepalive_connections=0),
            trust_env=False,
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def ask(
        self,
        kind: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        thread_id: str = "",
        run_id: str = "",
        key: str = "",
        action: str = "",
    ) -> Answer:
        """One request and its whole answer. `key` goes with it; `action` is what a cancellation asks for."""
        op = self._history.invoke(self.name, kind, thread_id, run_id)
        op.key, op.action = key, action
        headers = {"Idempotency-Key": key} if key else {}
        status = 0
        try:
            async with self._http.stream(method, path, json=body, headers=headers) as response:
                _note_run(op, response)
                # From here on the run is accepted, whatever becomes of the rest of the answer.
                op.status = status = response.status_code
                await response.aread()
        except httpx.TransportError as exc:
            self._history.lost(op, exc)
            return Answer(0, None, op.run_id if status else "")
        answer = Answer(status, _json(response), op.run_id)
        if kind == "batch" and answer.ok:
            op.made = [run["run_id"] for run in answer.body]
        self._history.answered(op, status, note=_note(response), retry_after="retry-after" in response.headers)
        await self._pause_if_told(response)
        return answer

    async def insist(self, kind: str, method: str, path: str, body: Any = None, **about: str) -> Answer:
        """A request that may be repeated, until there is an answer that is final. `about`: as for `ask`."""
        while True:
            answer = await self.ask(kind, method, path, body, **about)
            if answer.status and answer.status < 500:
                return answer
            await asyncio.sleep(_PAUSE)

    async def read_to_end(
        self,
        thread_id: str,
        run_id: str = "",
        *,
        after: int | None = None,
        new: Any = None,
        drops: float = 0.0,
        noted: bool = True,
    ) -> Reading:
        """Stream a run, over as many connections as it takes; `new` is the body of the run to create first.

        `drops` is how likely the client drops the connection by itself after a piece; `noted`: the history keeps what
        was read. A reading without a run: nobody knows whether it was created.
        """
        reading = Reading(self.name, thread_id, run_id, after)
        if noted:
            self._history.readings.append(reading)
        while not reading.ended and reading.false_ends < _MOST_FALSE_ENDS:
            answered = await self._read_once(reading, new, drops)
            if not reading.run_id or not answered:
                break
            new = None
            await asyncio.sleep(self.chance.uniform(0, _PAUSE))
        return reading

    async def _read_once(self, reading: Reading, new: Any, drops: float) -> bool:
        """One connection. False: there is no such run, or no answer to the request that was to create it."""
        path = f"/threads/{reading.thread_id}/runs/" + (f"{reading.run_id}/stream" if new is None else "stream")
        op = self._history.invoke(self.name, "stream" if new else "read_stream", reading.thread_id, reading.run_id)
        try:
            async with self._http.stream(
                "GET" if new is None else "POST", path, json=new, headers=_cursor(reading)
            ) as response:
                op.status = response.status_code
                if response.status_code == 200:
                    _note_run(op, response)
                    reading.run_id = op.run_id
                    reading.connections += 1
                    await self._collect(reading, response, drops)
                else:
                    await response.aread()
        except httpx.TransportError as exc:
            self._history.lost(op, exc)
            return bool(reading.run_id)
        self._history.answered(op, response.status_code, retry_after="retry-after" in response.headers)
        await self._pause_if_told(response)
        return response.status_code == 200 or (response.status_code >= 500 and new is None)

    async def _collect(self, reading: Reading, response: httpx.Response, drops: float) -> None:
        """Take the frames of one connection until the run's end or the connection's."""
        frames = FrameReader()
        async for piece in response.aiter_raw():
            fresh = frames.feed(piece)
            reading.frames += fresh
            if any(frame.name == "end" for frame in fresh):
                reading.ended = True
                return
            if drops and self.chance.random() < drops:
                return
        reading.false_ends += 1

    async def _pause_if_told(self, response: httpx.Response) -> None:
        if response.status_code == 503:
            await asyncio.sleep(min(float(response.headers.get("retry-after", _PAUSE)), 2.0))


def _cursor(reading: Reading) -> dict[str, str]:
    seen = [frame.id for frame in reading.frames if frame.id is not None]
    last = seen[-1] if seen else reading.after
    return {} if last is None else {"Last-Event-ID": str(last)}


def _note_run(op: Op, response: httpx.Response) -> None:
    place = response.headers.get("content-location", "")
    if "/runs/" in place:
        op.run_id = place.rpartition("/runs/")[2]


def _note(response: httpx.Response) -> str:
    return response.text[:300] if response.status_code >= 400 else ""


def _json(response: httpx.Response) -> Any:
    try:
        return orjson.loads(response.content) if response.content else None
    except orjson.JSONDecodeError:
        return None
