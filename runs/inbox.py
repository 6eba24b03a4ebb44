"""The commands of one socket that wait for their turn."""

import asyncio

from django.conf import settings

#: So many commands may wait, and so many bytes of them: what one client can make a process keep.
MAX_WAITING = 1000
MAX_BYTES = 2 * settings.MAX_BODY_BYTES


class Inbox:
    """Gives them out one after the other: SOCKET_COMMAND_BURST at once, SOCKET_COMMANDS_PER_SECOND on average."""

    def __init__(self) -> None:
        self._waiting: list[str] = []
        self._size = 0
        #: When the next one is due, by the loop's clock, if none of the burst is used up.
        self._due = 0.0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def put(self, text: str) -> bool:
        """False when too much waits already."""
        if len(self._waiting) >= MAX_WAITING or self._size > MAX_BYTES:
            return False
        self._waiting.append(text)
        self._size += len(text)
        return True

    async def take(self) -> str:
        """The next of those that wait, when it is its turn."""
        now = asyncio.get_running_loop().time()
        apart = 1 / settings.SOCKET_COMMANDS_PER_SECOND
        early = self._due - now - settings.SOCKET_COMMAND_BURST * apart
        if early > 0:
            await asyncio.sleep(early)
        self._due = max(self._due, now) + apart
        text = self._waiting.pop(0)
        self._size -= len(text)
        return text
