"""Daphne, embedded: with back-pressure for slow readers, ways to cut a response, and to leave its clients."""

import asyncio
import contextlib
from socket import SO_SNDBUF, SOL_SOCKET
from typing import Any
from weakref import WeakSet

from daphne import http_protocol
from daphne import server as daphne_server
from django.conf import settings
from twisted.internet.defer import maybeDeferred

from deerflow_site.handler import CUT
from deerflow_site.pace import Pace, unsent
from deerflow_site.websocket import OPTIONS, WebSocketFactory, WebSocketProtocol

#: What the kernel keeps for a client that has not taken it yet; Linux doubles it.
SEND_BUFFER_BYTES = 128 * 1024
#: How often MAX_BODY_BYTES a client may send, to be told that it is too much, before it is cut.
ENDLESS_BODIES = 8

reactor = daphne_server.reactor
event_loop: asyncio.AbstractEventLoop = daphne_server.twisted_loop


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
        channel, transport = self.channel, self.transport
        connection = transport.protocol
        processed = super().process()
        if self.transport is None and transport.protocol is not connection:
            _HTTPFactory.part_with(connection, channel, transport, self)
        return processed

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
    def part_with(cls, connection: Any, channel: Any, transport: Any, request: Any) -> None:
        """The connection is a WebSocket's from now on, which neither holds nor hears what was HTTP's."""
        cls.connections.discard(connection)
        transport.unregisterProducer()
        channel.setTimeout(None)
        channel.requests.remove(request)

    @classmethod
    def is_answering(cls) -> bool:
        return any(protocol._channel.requests for protocol in cls.connections)


# Daphne takes the factories that stand here.
daphne_server.HTTPFactory = _HTTPFactory
daphne_server.WebSocketFactory = WebSocketFactory


class Server(daphne_server.Server):  # type: ignore[misc]  # untyped
    """Daphne's server. Sending a part of a response waits until the client's connection takes more."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**OPTIONS, **kwargs})
        self._ports: list[Any] = []

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        if scope["type"] == "websocket":
            # A handshake can be refused with a status of HTTP.
            scope["extensions"] = {"websocket.http.response": {}}
        return super().create_application(protocol, scope)

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        if isinstance(protocol, WebSocketProtocol):
            await super().handle_reply(protocol, message)
            if message["type"] == "websocket.send":
                await protocol.pace.wait()
            return
        if message["type"] == CUT:
            _cut(protocol)
            return
        more = message.get("more_body", False)
        pace: Pace | None = getattr(protocol, "pace", None)
        if pace and not more:
            protocol.pace = None
            pace.stopProducing()
            # A client that has gone took the connection with it.
            if protocol.channel is not None:
                protocol.unregisterProducer()
        await super().handle_reply(protocol, message)
        if not more or protocol.finished or protocol.channel is None:
            return
        if pace is None:
            connection = protocol.channel.transport
            pace = protocol.pace = Pace(lambda: unsent(connection), lambda: _cut(protocol))
            protocol.registerProducer(pace, True)
        await pace.wait()

    def listen_success(self, port: Any) -> None:
        super().listen_success(port)
        # Connections inherit it. The kernel would take megabytes for each reader who does not read.
        port.socket.setsockopt(SOL_SOCKET, SO_SNDBUF, SEND_BUFFER_BYTES)
        self._ports.append(port)

    async def stop_listening(self) -> None:
        """Accept no more connections; those that are open stay until they are answered."""
        for port in self._ports:
            await maybeDeferred(port.stopListening).asFuture(event_loop)
        _HTTPFactory.leave()

    def leave_sockets(self) -> None:
        """Have every WebSocket closed."""
        for socket in self._sockets():
            socket.leave()

    async def finish_requests(self, seconds: float) -> None:
        """Wait until every request is answered and every WebSocket closed, but no longer than so."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while _HTTPFactory.is_answering() or self._sockets():
                    await asyncio.sleep(0.02)

    def _sockets(self) -> list[WebSocketProtocol]:
        return [it for it in self.connections if isinstance(it, WebSocketProtocol) and not it.has_ended]


def _cut(protocol: Any) -> None:
    if protocol.channel is not None:
        protocol.channel.forceAbortClient()
