"""A TCP proxy that spreads connections over the web processes, delays bytes, and cuts."""

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Self
from urllib.parse import urlsplit

_PIECE = 65536
#: Close with a reset: what is under way is lost, as with a broken network.
_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Listens while its block is open. A connection goes to the next server that takes it, or is reset."""

    def __init__(self, urls: Callable[[], Sequence[str]], chance: random.Random) -> None:
        self._urls = urls
        self._chance = chance
        self._next = 0
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        #: The longest that a piece is held back, in seconds.
        self.delay = 0.0
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut_all(self) -> int:
        """Reset every connection; answers how many there were."""
        pairs = list(self._pairs)
        for pair in pairs:
            for writer in pair:
                reset(writer)
        return len(pairs)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        there = await self._connect()
        if there is None:
            reset(writer)
            return
        pair = writer, there[1]
        self._pairs.add(pair)
        ways = {
            asyncio.create_task(self._pass_on(reader, pair[1])),
            asyncio.create_task(self._pass_on(there[0], writer)),
        }
        try:
            # Nobody here closes one half of a connection only.
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._pairs.discard(pair)
            for way in ways:
                way.cancel()
            for one in pair:
                one.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        urls = self._urls()
        for _ in urls:
            self._next += 1
            address = urlsplit(urls[self._next % len(urls)])
            with contextlib.suppress(OSError):
                return await asyncio.open_connection(address.hostname, address.port)
        return None

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(_PIECE):
                if self.delay:
                    await asyncio.sleep(self._chance.uniform(0, self.delay))
                writer.write(piece)
                await writer.drain()
        except OSError:
            # What broke on one side breaks on the other.
            reset(writer)


def reset(writer: asyncio.StreamWriter) -> None:
    """Break a connection: the other side is told so at once."""
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
