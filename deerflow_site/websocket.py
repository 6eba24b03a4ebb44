"""Daphne's WebSockets, as this server needs them: paced, bounded, refused with a status, closed with a code that says
why. The codes are told in docs/reference/api.md.
"""

import http
import json
import time
from typing import Any

from autobahn.util import encode_truncate
from autobahn.websocket.types import ConnectionDeny
from daphne import ws_protocol
from django.conf import settings

from deerflow_site.pace import Pace, unsent
from runs.consumers import inbox

#: A client that takes nothing of what it is sent, or answers no ping.
_STUCK = 4408
_TOO_MUCH = 4429
#: A client has so long to answer a close, before its connection is cut.
_CLOSE_SECONDS = 2.0
#: What a close can hold beside its code, in bytes.
_REASON = 123

#: What Daphne is told of sockets. One stays open for as long as its client answers pings.
OPTIONS = {
    "websocket_timeout": -1,
    "websocket_handshake_timeout": 15,
    "websocket_max_message_size": settings.MAX_BODY_BYTES,
    "websocket_max_frame_size": settings.MAX_BODY_BYTES,
    "ping_interval": 20,
    "ping_timeout": 30,
}


_Denied: Any = ConnectionDeny  # untyped


class WebSocketProtocol(ws_protocol.WebSocketProtocol):  # type: ignore[misc]  # untyped
    """One socket. Sending waits for `pace`."""

    def onConnect(self, request: Any) -> Any:
        self.pace = Pace(lambda: unsent(self.transport), self.give_up)
        #: The last ping of the client that is still to be answered.
        self._ping: bytes | None = None
        #: How much of a message has come whose rest has not.
        self._half = 0
        self._refusal: dict[str, Any] = {}
        return super().onConnect(request)

    def onOpen(self) -> None:
        self.registerProducer(self.pace, True)
        # What was said in the handshake has been heard, and a socket may stay open for days.
        self.http_request_data = b""
        for heard in (self.http_headers, self.request.headers, self.clean_headers):
            heard.clear()
        super().onOpen()

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        if hasattr(self, "pace"):  # else there was no handshake
            self.pace.resumeProducing()
            self._let_go()
            super().onClose(wasClean, code, reason)

    @property
    def has_ended(self) -> bool:
        return bool(self.state == self.STATE_CLOSED)

    def handle_reply(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if self.state == self.STATE_CONNECTING:
            if kind == "websocket.http.response.start":
                self._refusal = message
            elif kind == "websocket.http.response.body":
                self._refuse(message["body"])
            else:
                super().handle_reply(message)
        elif kind == "websocket.close":
            self.close(message.get("code", 1000), message.get("reason") or "")
        elif self.state == self.STATE_OPEN:
            super().handle_reply(message)

    def close(self, code: int, reason: str) -> None:
        if self.state == self.STATE_OPEN:
            self.sendCloseFrame(code=code, reasonUtf8=encode_truncate(reason, _REASON))

    def leave(self) -> None:
        """Have the application close it, once it has answered: the client comes back to another server."""
        if self.state == self.STATE_OPEN:
            self.application_queue.put_nowait({"type": "websocket.leave"})

    def give_up(self) -> None:
        """Part from a client that does not move."""
        self.close(_STUCK, "Nothing was taken, or no ping answered, for too long.")

    def onMessageFrameData(self, payload: bytes) -> None:
        if inbox.keep(len(payload)):
            self._half += len(payload)
            super().onMessageFrameData(payload)
        else:
            # What has come of the message is not taken for all of it.
            self._fail_connection(_TOO_MUCH, "The commands of all sockets are too large.")

    def onMessageEnd(self) -> None:
        self._let_go()
        super().onMessageEnd()

    def _let_go(self) -> None:
        inbox.let_go(self._half)
        self._half = 0

    def onPing(self, payload: bytes) -> None:
        # Of several that wait only the last is answered: who takes nothing could make any number of answers wait.
        if self._ping is None:
            self._ping = payload
            self.pace.when_it_flows(self._answer_ping)
        else:
            self._ping = payload

    def _answer_ping(self) -> None:
        payload, self._ping = self._ping, None
        self.sendPong(payload)

    def _refuse(self, body: bytes) -> None:
        self.handshake_deferred.errback(_Denied(self._refusal["status"], body.decode()))
        del self.handshake_deferred
        self.server.protocol_disconnected(self)

    def sendHttpErrorResponse(self, code: int, reason: str, responseHeaders: Any = None) -> None:
        """Answer a handshake that is refused: by the application, or by autobahn as no handshake."""
        body = reason.encode() if getattr(self, "_refusal", None) else json.dumps({"detail": reason}).encode()
        lines = [
            f"HTTP/1.1 {code} {http.HTTPStatus(code).phrase}",
            *(f"{name}: {value}" for name, value in responseHeaders or ()),
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Connection: close",
        ]
        self.sendData("\r\n".join([*lines, "", ""]).encode() + body)

    def check_timeouts(self) -> None:
        if self.autoPingPending or not self.pace.flows:
            # The last one is not answered yet, or would wait behind what the client takes slowly.
            self.last_ping = time.time()
        super().check_timeouts()

    def onAutoPingTimeout(self) -> None:
        self.autoPingTimeoutCall = self.autoPingPending = None
        if self.pace.flows:
            self.give_up()


class WebSocketFactory(ws_protocol.WebSocketFactory):  # type: ignore[misc]  # untyped
    protocol = WebSocketProtocol

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # What breaks the rules is told which, by a close code.
        self.setProtocolOptions(failByDrop=False, closeHandshakeTimeout=_CLOSE_SECONDS)
