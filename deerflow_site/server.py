"""Daphne, embedded: with back-pressure for slow readers, and a way to cut a response."""

import asyncio
import contextlib
from typing import Any
from weakref import WeakSet

from daphne import http_protocol
from daphne import server as daphne_server
from django.conf import settings
from twisted.internet import interfaces
from twisted.internet.defer import maybeDeferred
from zope.interface import implementer

from deerflow_site.handler import CUT

#: A client that has not taken what was sent for so long is cut; it can come back with its cursor.
STUCK_SECONDS = 30.0
#: How often MAX_BODY_BYTES a client may send, to be told that it is too much, before it is cut.
ENDLESS_BODIES = 8

reactor = daphne_server.reactor
event_loop: asyncio.AbstractEventLoop = daphne_server.twisted_loop


@implementer(interfaces.IPushProducer)
class _Pace:
    """Whether the client's connection takes more."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()

    def pauseProducing(self) -> None:
        self._open.clear()

    def resumeProducing(self) -> None:
        self._open.set()

    stopProducing = resumeProducing

    async def wait(self) -> bool:
        """Wait for the client; False when it does not move."""
        if self._open.is_set():
            return True
        try:
            async with asyncio.timeout(STUCK_SECONDS):
                await self._open.wait()
        except TimeoutError:
            return False
        return True


class _Request(http_protocol.WebRequest):  # type: ignore[misc]  # untyped
    """A request of whose body no more is kept than it takes to see that it is too large.

    Forms in bodies are left to Django, which reads them for those who want them: Twisted would read each twice.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, parsePOSTFormSubmission=False, **kwargs)
        self._received = 0

    def process(self) -> Any:
        # Daphne would let any client say under which path the site is mounted.
        self.requestHeaders.removeHeader(b"daphne-root-path")
        if _HTTPFactory.leaving:
            self.channel.persistent = False
            self.responseHeaders.setRawHeaders(b"connection", [b"close"])
        return super().process()

    def handleContentChunk(self, data: bytes) -> None:
        self._received += len(data)
        if self.content.tell() <= settings.MAX_BODY_BYTES:
            super().handleContentChunk(data)
        elif self._received > ENDLESS_BODIES * settings.MAX_BODY_BYTES:
            self.channel.forceAbortClient()


class _HTTPFactory(http_protocol.HTTPFactory):  # type: ignore[misc]  # untyped
    """Knows the connections, so that a server that leaves can part from them."""

    #: Of the process.
    connections: "WeakSet[Any]" = WeakSet()
    leaving = False

    def buildProtocol(self, address: Any) -> Any:
        protocol = super().buildProtocol(address)
        protocol.requestFactory = _Request
        self.connections.add(protocol)
        return protocol

    @classmethod
    def leave(cls) -> None:
        """Close the connections that are idle, and each other one after its answer."""
        cls.leaving = True
        for protocol in list(cls.connections):
            if not protocol._channel.requests:
                protocol._channel.loseConnection()

    @classmethod
    def is_answering(cls) -> bool:
        return any(protocol._channel.requests for protocol in cls.connections)


# Daphne takes the factory that stands here.
daphne_server.HTTPFactory = _HTTPFactory


class Server(daphne_server.Server):  # type: ignore[misc]  # untyped
    """Daphne's server. Sending a part of a response waits until the client's connection takes more."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ports: list[Any] = []

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        if message["type"] == CUT:
            _cut(protocol)
            return
        more = message.get("more_body", False)
        pace: _Pace | None = getattr(protocol, "pace", None)
        if pace and not more:
            protocol.pace = None
            # A client that has gone took the connection with it.
            if protocol.channel is not None:
                protocol.unregisterProducer()
        await super().handle_reply(protocol, message)
        if not more or protocol.finished or protocol.channel is None:
            return
        if pace is None:
            pace = protocol.pace = _Pace()
            protocol.registerProducer(pace, True)
        if not await pace.wait():
            _cut(protocol)

    def listen_success(self, port: Any) -> None:
        super().listen_success(port)
        self._ports.append(port)

    async def stop_listening(self) -> None:
        """Accept no more connections; those that are open stay until they are answered."""
        for port in self._ports:
            await maybeDeferred(port.stopListening).asFuture(event_loop)
        _HTTPFactory.leave()

    async def finish_requests(self, seconds: float) -> None:
        """Wait until every request is answered, but no longer than so."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while _HTTPFactory.is_answering():
                    await asyncio.sleep(0.02)


def _cut(protocol: Any) -> None:
    if protocol.channel is not None:
        protocol.channel.forceAbortClient()
