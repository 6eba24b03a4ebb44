"""The pace of a client: what it is sent waits until its connection takes more."""

import asyncio

from twisted.internet import interfaces
from zope.interface import implementer

#: A client that has not taken what was sent for so long is cut; it can come back with its cursor.
STUCK_SECONDS = 30.0


@implementer(interfaces.IPushProducer)
class Pace:
    """Whether the client's connection takes more."""

    __slots__ = ("_paused",)

    def __init__(self) -> None:
        #: Done when the connection takes more again; None while it does. Thousands of connections never pause.
        self._paused: asyncio.Future[None] | None = None

    @property
    def flows(self) -> bool:
        return self._paused is None

    def pauseProducing(self) -> None:
        if self._paused is None:
            self._paused = asyncio.get_running_loop().create_future()

    def resumeProducing(self) -> None:
        if self._paused is not None:
            self._paused.set_result(None)
            self._paused = None

    stopProducing = resumeProducing

    async def wait(self) -> bool:
        """Wait for the client; False when it does not move."""
        if self._paused is None:
            return True
        done, _ = await asyncio.wait({self._paused}, timeout=STUCK_SECONDS)
        return bool(done)
