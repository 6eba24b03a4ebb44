"""HTTP as bytes: requests whose responses are read piece by piece, and cut wherever a test wants."""

import asyncio
import contextlib
import json
import re
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

HEARTBEAT = b": heartbeat\r\n\r\n"


class Reply:
    """A response as it comes. Open it with `async with request(...)`; leaving the block drops the connection."""

    def __init__(self, server: str, key: str, method: str, path: str, body: Any, headers: dict[str, str]) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        #: All of the body that has come so far, without the framing of chunks.
        self.body = b""
        #: Whether the body is complete by its own account, not just over.
        self.complete = False
        self._server = server
        self._head = _head(server, key, method, path, body, headers)
        self._left: int | None = None

    async def __aenter__(self) -> Self:
        await self.send()
        self.status = int((await self._reader.readline()).split()[1])
        while line := (await self._reader.readline()).strip():
            name, _, value = line.decode("latin-1").partition(":")
            self.headers[name.lower()] = value.strip()
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            self._left = int(self.headers.get("content-length", 0))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def send(self) -> None:
        """Only send the request."""
        address = urlsplit(self._server)
        self._reader, self._writer = await asyncio.open_connection(address.hostname, address.port)
        self._writer.write(self._head)
        await self._writer.drain()

    async def close(self) -> None:
        """Drop the connection, whatever is still to come."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    async def more(self) -> bytes:
        """The next piece of the body; nothing when there is no more, complete or not."""
        try:
            piece = await self._next_piece()
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            return b""
        self.body += piece
        return piece

    async def read(self) -> bytes:
        """All of the body, to its end."""
        while await self.more():
            pass
        return self.body

    async def read_at_least(self, size: int) -> bytes:
        """The body so far, once it has so many bytes or is over."""
        while len(self.body) < size and await self.more():
            pass
        return self.body

    async def read_to(self, mark: bytes) -> bytes:
        """The body so far, once it holds `mark` or is over."""
        while mark not in self.body and await self.more():
            pass
        return self.body

    async def _next_piece(self) -> bytes:
        if self._left is not None:
            piece = await self._reader.readexactly(self._left)
            self._left, self.complete = 0, True
            return piece
        size = int(await self._reader.readline(), 16)
        piece = await self._reader.readexactly(size)
        await self._reader.readexactly(2)
        self.complete = self.complete or not size
        return piece


def request(server: str, key: str, method: str, path: str, body: Any = None, **headers: str) -> Reply:
    """A request to be opened; underscores in the names of headers stand for dashes."""
    return Reply(server, key, method, path, body, headers)


def _head(server: str, key: str, method: str, path: str, body: Any, headers: dict[str, str]) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", f"Host: {urlsplit(server).netloc}", f"X-Api-Key: {key}"]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


def events_of(stream: bytes) -> bytes:
    """A stream without the comments that keep its connection alive."""
    return stream.replace(HEARTBEAT, b"")


def whole_frames(stream: bytes) -> bytes:
    """A stream that was cut somewhere, up to the end of its last complete frame."""
    return stream[: stream.rfind(b"\r\n\r\n") + 4] if b"\r\n\r\n" in stream else b""


def ids_of(stream: bytes) -> list[int]:
    """The ids of a stream's frames, in order."""
    return [int(number) for number in re.findall(rb"^id: (\d+)\r$", stream, re.MULTILINE)]


def names_of(stream: bytes) -> list[str]:
    """The event names of a stream's frames, in order."""
    return [name.decode() for name in re.findall(rb"^event: (.*)\r$", stream, re.MULTILINE)]
