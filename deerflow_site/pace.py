"""The pace of a client: what it is sent waits until its connection takes more."""

import asyncio
import fcntl
import struct
import sys
import termios
from collections.abc import Callable
from typing import Any

from twisted.internet import interfaces
from zope.interface import implementer

#: A client that has taken nothing of what was sent for so long is cut; it can come back with its cursor.
STUCK_SECONDS = 30.0
#: How often meanwhile it is looked whether a client takes anything.
_LOOKS = 6


@implementer(interfaces.IPushProducer)
class Pace:
    """Whether the client's connection takes more.

    `unsent` tells how many bytes wait for the client. When they do not become fewer for STUCK_SECONDS, whoever sent
    them, `give_up` is called: a slow client is not a stuck one.
    """

    __slots__ = ("_give_up", "_look_again", "_moved", "_paused", "_unsent", "_waiting")

    def __init__(self, unsent: Callable[[], int], give_up: Callable[[], None]) -> None:
        self._unsent = unsent
        self._give_up = give_up
        #: Done when the connection takes more again; None while it does. Thousands of connections never pause.
        self._paused: asyncio.Future[None] | None = None
        self._look_again: asyncio.TimerHandle | None = None
        #: How much waited at the last look, and when it had become less, by the loop's clock.
        self._waiting = 0
        self._moved = 0.0

    @property
    def flows(self) -> bool:
        return self._paused is None

    def pauseProducing(self) -> None:
        if self._paused is None:
            loop = asyncio.get_running_loop()
            self._paused = loop.create_future()
            self._waiting, self._moved = self._unsent(), loop.time()
            self._look_again = loop.call_later(STUCK_SECONDS / _LOOKS, self._look)

    def resumeProducing(self) -> None:
        if self._look_again is not None:
            self._look_again.cancel()
            self._look_again = None
        if self._paused is not None:
            self._paused.set_result(None)
            self._paused = None

    stopProducing = resumeProducing

    async def wait(self) -> None:
        """Wait until the client takes more, or its connection has ended."""
        if self._paused is not None:
            await asyncio.wait({self._paused})

    def when_it_flows(self, then: Callable[[], None]) -> None:
        """Call `then` soon after the client takes more, or its connection has ended."""
        if self._paused is None:
            then()
        else:
            self._paused.add_done_callback(lambda _: then())

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        waiting = self._unsent()
        if waiting < self._waiting:
            self._moved = loop.time()
        self._waiting = waiting
        if loop.time() - self._moved >= STUCK_SECONDS:
            self._look_again = None
            self._give_up()
        else:
            self._look_again = loop.call_later(STUCK_SECONDS / _LOOKS, self._look)


def unsent(transport: Any) -> int:
    """How many bytes wait in a connection of Twisted, and for its client in the system."""
    own = len(transport.dataBuffer) - transport.offset + transport._tempDataLen
    return int(own) + _in_system(transport.fileno())


def _in_system(descriptor: int) -> int:
    """What was given to the system, often megabytes, and not confirmed by the client; 0 where that is not told."""
    if descriptor < 0 or not sys.platform.startswith("linux"):
        return 0
    try:
        (found,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))
    except OSError:
        return 0
    return int(found)
