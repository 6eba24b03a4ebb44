"""The commands of one socket that wait for their turn."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from django.conf import settings

#: So many commands may wait, and so many bytes of them beside the largest: what one socket can make a process keep.
MAX_WAITING = 1000
MAX_BYTES = 1024 * 1024
#: How many bytes of commands all sockets of the process may have: half sent, waiting, or being performed.
MAX_BYTES_OF_ALL = 64 * 1024 * 1024

#: Of the process.
_kept = 0


def keep(size: int) -> bool:
    """Note that a socket has so many bytes more, until `let_go`. False, with nothing noted, when that is too much."""
    global _kept
    if _kept + size > MAX_BYTES_OF_ALL:
        return False
    _kept += size
    return True


def let_go(size: int) -> None:
    global _kept
    _kept -= size


class Inbox:
    """Gives them out one after the other: SOCKET_COMMAND_BURST at once, SOCKET_COMMANDS_PER_SECOND on average.

    It is to be closed; what it keeps counts until then.
    """

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        #: Of those that wait.
        self._size = 0
        #: When the next one is due, by the loop's clock, if none of the burst is used up.
        self._due = 0.0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def put(self, text: bytes) -> bool:
        """False when too much waits already: here, or in all of the process."""
        if len(self._waiting) >= MAX_WAITING:
            return False
        size = self._size + len(text)
        if size > MAX_BYTES and size - max(len(text), *map(len, self._waiting), 0) > MAX_BYTES:
            return False
        if not keep(len(text)):
            return False
        self._waiting.append(text)
        self._size = size
        return True

    @asynccontextmanager
    async def next(self) -> AsyncIterator[bytes]:
        """The next of those that wait, when it is its turn; performed when this ends."""
        await self._turn()
        text = self._waiting.popleft()
        self._size -= len(text)
        try:
            yield text
        finally:
            let_go(len(text))

    async def _turn(self) -> None:
        now = asyncio.get_running_loop().time()
        apart = 1 / settings.SOCKET_COMMANDS_PER_SECOND
        early = self._due - now - settings.SOCKET_COMMAND_BURST * apart
        if early > 0:
            await asyncio.sleep(early)
        self._due = max(self._due, now) + apart

    def close(self) -> None:
        """Forget those that wait."""
        self._waiting.clear()
        let_go(self._size)
        self._size = 0
