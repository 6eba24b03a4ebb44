"""A WebSocket as bytes, the counterpart of `wire.request`: read piece by piece, and cut wherever a test wants."""

import asyncio
import contextlib
import json
from types import TracebackType
from typing import Any, Self

from websockets.client import ClientProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.streams import StreamReader
from websockets.uri import parse_uri

_PIECE = 65536
_END_OF_HEAD = b"\r\n\r\n"


class RawSocket:
    """The WebSocket of one thread's events. Leaving the block drops the connection without a word."""

    def __init__(self, server: str, key: str, thread_id: str) -> None:
        #: All bytes that have come since the handshake.
        self.stream = b""
        #: How it was closed, once it was: 1006 when the connection was just over.
        self.close_code: int | None = None
        self._url = parse_uri(f"{server.replace('http', 'ws', 1)}/threads/{thread_id}/stream/events")
        self._key = key
        self._numbers = 0

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._url.host, self._url.port)
        self._protocol = ClientProtocol(self._url, max_size=None)
        request = self._protocol.connect()
        request.headers["X-Api-Key"] = self._key
        self._protocol.send_request(request)
        await self._flush()
        self._protocol.receive_data(await self._reader.readuntil(_END_OF_HEAD))
        if self._protocol.handshake_exc is not None:
            await self._drop()
            raise self._protocol.handshake_exc
        assert self._protocol.state is State.OPEN
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._drop()

    async def send(self, method: str, **params: Any) -> int:
        """Send a command; answers its id."""
        self._numbers += 1
        command = {"id": self._numbers, "method": method, "params": params}
        self._protocol.send_text(json.dumps(command).encode())
        await self._flush()
        return self._numbers

    async def more(self) -> bytes:
        """The next bytes; none when the connection is over."""
        try:
            piece = await self._reader.read(_PIECE)
        except ConnectionError:
            piece = b""
        self.stream += piece
        # Its answers to pings.
        self._protocol.receive_data(piece) if piece else self._protocol.receive_eof()
        with contextlib.suppress(ConnectionError):
            await self._flush()
        if not piece or self._protocol.close_rcvd:
            self.close_code = self._protocol.close_code or CloseCode.ABNORMAL_CLOSURE
            return b""
        return piece

    async def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._writer.write(data)
        await self._writer.drain()

    async def _drop(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


def messages_of(stream: bytes) -> list[tuple[Any, int]]:
    """The whole messages of a stream that may be cut, as JSON, each with the number of bytes to its end."""
    reader = StreamReader()
    reader.feed_data(stream)
    found = []
    while (frame := _next_frame(reader)) is not None:
        if frame.opcode is Opcode.TEXT:
            found.append((json.loads(frame.data), len(stream) - len(reader.buffer)))
    return found


def _next_frame(reader: StreamReader) -> Frame | None:
    parsing = Frame.parse(reader.read_exact, mask=False)
    try:
        next(parsing)
    except StopIteration as whole:
        frame: Frame = whole.value
        return frame
    return None
