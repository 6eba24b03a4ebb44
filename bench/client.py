"""A client of the LangGraph Agent Server protocol that costs as little as it can: it shares the server's cores."""

import json
import time
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import aiohttp

#: Seconds that one request may take, streams included.
REQUEST_SECONDS = 180

_EVENT = b"\nevent:"


class Unexpected(Exception):
    """The server's answer is not the one that the case is about."""


@dataclass(frozen=True, slots=True)
class Streamed:
    """What a stream brought. Seconds count from the request: to the first byte of the body, and to its end."""

    events: int
    size: int
    first_seconds: float
    seconds: float


def open_session(headers: dict[str, str]) -> aiohttp.ClientSession:
    """A session without a bound on its connections."""
    return aiohttp.ClientSession(
        headers=headers,
        timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS),
        connector=aiohttp.TCPConnector(limit=0),
    )


class Api:
    """One server. Paths are relative to its address. Whatever is not a success raises Unexpected."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url.rstrip("/")

    async def post(self, path: str, body: Any) -> Any:
        return await self._json("POST", path, body)

    async def get(self, path: str) -> Any:
        return await self._json("GET", path)

    async def thread(self) -> str:
        """Make a thread; answers its id."""
        return str((await self.post("/threads", {}))["thread_id"])

    async def stream(self, path: str, body: Any = None, method: str = "POST") -> Streamed:
        """Read a stream of Server-Sent Events to its end."""
        started = time.perf_counter()
        first: float | None = None
        events = size = 0
        tail = b"\n"
        async with self.request(method, path, body) as response:
            await check(response)
            async for part in response.content.iter_any():
                if first is None:
                    first = time.perf_counter() - started
                size += len(part)
                part = tail + part
                events += part.count(_EVENT)
                # One byte short of what is counted, so that nothing is counted twice.
                tail = part[1 - len(_EVENT) :]
        seconds = time.perf_counter() - started
        return Streamed(events, size, seconds if first is None else first, seconds)

    def request(self, method: str, path: str, body: Any = None) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """The bare request, its answer not yet looked at."""
        return self._session.request(method, self._url + path, json=body)

    async def _json(self, method: str, path: str, body: Any = None) -> Any:
        async with self.request(method, path, body) as response:
            await check(response)
            raw = await response.read()
        return json.loads(raw) if raw else None


async def check(response: aiohttp.ClientResponse) -> None:
    """Raise Unexpected, with what the server said, unless it is a success."""
    if not 200 <= response.status < 300:
        said = (await response.read())[:300].decode(errors="replace")
        raise Unexpected(f"{response.method} {response.url.path}: {response.status} {said}")
