"""What a host and its engine say to each other: small JSON messages, each with an optional payload of raw bytes.

Host to engine: `start` (an attempt), `cancel`, `call` (a question about state), `stop`.
Engine to host: `hello`, `chunk` (committed events), `ended` (a graph that was stopped is, its outcome is not written
yet), `done` (an attempt is over), `due` (there may be webhooks to send), `answer`, `alive`.
"""

import signal
import socket
import struct
from typing import Any, Literal, NamedTuple

import orjson

#: What an engine is there for: to execute attempts, or to answer questions about state.
Duty = Literal["runs", "state"]

#: How a host asks the spawner for an engine: by this byte, with the engine's end of the pipe.
DUTIES: dict[bytes, Duty] = {b"r": "runs", b"s": "state"}
PID = struct.Struct(">I")
HEAD = struct.Struct(">II")


class Message(NamedTuple):
    kind: str
    fields: dict[str, Any]
    payload: bytes


def pack(kind: str, payload: bytes = b"", **fields: Any) -> bytes:
    body = orjson.dumps([kind, fields])
    return HEAD.pack(len(body), len(payload)) + body + payload


def unpack(body: bytes, payload: bytes) -> Message:
    kind, fields = orjson.loads(body)
    return Message(kind, fields, payload)


def receive(connection: socket.socket) -> Message | None:
    """The next message, or None at the end. Blocks."""
    head = _receive_exactly(connection, HEAD.size)
    if head is None:
        return None
    size, payload_size = HEAD.unpack(head)
    body = _receive_exactly(connection, size + payload_size)
    return None if body is None else unpack(body[:size], body[size:])


def _receive_exactly(connection: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        try:
            part = connection.recv(size - len(parts))
        except ConnectionError:
            return None
        if not part:
            return None
        parts += part
    return bytes(parts)


def request_engine(spawner: socket.socket, duty: Duty, connection: socket.socket) -> int:
    """Have an engine forked that talks through `connection`; answers its process id. Blocks, for milliseconds.

    Raises OSError when the spawner is gone.
    """
    code = next(code for code, name in DUTIES.items() if name == duty)
    socket.send_fds(spawner, [code], [connection.fileno()])
    answer = spawner.recv(PID.size)
    if len(answer) < PID.size:
        raise ConnectionError("the spawner is gone")
    return int(PID.unpack(answer)[0])


def ignore_stop_signals() -> None:
    """Leave it to the host when to end: a Ctrl-C or a stop of the service reaches every process of the group.

    Handlers, not SIG_IGN, which programs that a graph starts would inherit.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
