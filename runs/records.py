"""Records of the event log, and how a chunk of them is written down. Pure: no database, no clock but `now_ms`.

A chunk is the records that one run appended in one commit. Its payload is text: for each record a head line
``method timestamp namespace`` and a data line, both free of raw newlines because JSON has none::

    messages 1795160537755 []
    [{"content":"tok0 ",...},{"langgraph_step":1,...}]

So a reader can cut a chunk into frames without parsing a single event, and a person can read it. Sequence numbers are
not in the payload: record `i` of a chunk has the number ``first_seq + i``.
"""

import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import orjson

#: What one event may weigh, in bytes of JSON. A graph that emits more fails with `EventTooLarge`.
MAX_EVENT_BYTES = 4 * 1024 * 1024

_COMPRESS_FROM = 2048
_COMPRESSED = b"\x00"


#: The kind of a message that is not one any more, as LangChain calls it.
REMOVED = "remove"


class Kept(NamedTuple):
    """The row of a message: see `runs.models.Message`. `content` and `metadata` are JSON.

    Of the kind REMOVED: that the run's message of this id has none.
    """

    kind: str
    caller: str
    message_id: str
    content: bytes = b""
    metadata: bytes = b"{}"


class Record(NamedTuple):
    """One event before it has a number. `data` is its JSON; `namespace` is empty for the root graph."""

    method: str
    data: bytes
    namespace: tuple[str, ...]
    timestamp: int
    #: What is written beside the log, in the same transaction.
    kept: Kept | None = None

    @property
    def size(self) -> int:
        """How many bytes it brings."""
        return len(self.data) + (len(self.kept.content) if self.kept else 0)


class Chunk(NamedTuple):
    """Records of one run that were committed together as ``first_seq..last_seq`` of their thread."""

    thread_id: str
    run_id: str
    first_seq: int
    last_seq: int
    payload: bytes


def now_ms() -> int:
    return int(time.time() * 1000)


def record(method: str, data: Any = None, namespace: Sequence[str] = ()) -> Record:
    """A record of a JSON-able value, now."""
    return Record(method, orjson.dumps(data), tuple(namespace), now_ms())


def pack(records: Iterable[Record]) -> bytes:
    """The payload of a chunk."""
    lines = []
    for method, data, namespace, timestamp, _ in records:
        where = orjson.dumps(namespace).decode() if namespace else "[]"
        lines.append(f"{method} {timestamp} {where}".encode())
        lines.append(data)
    return b"\n".join(lines)


class Head(NamedTuple):
    method: str
    timestamp: int
    namespace: tuple[str, ...]


def parse_head(line: bytes) -> Head:
    method, timestamp, where = line.decode().split(" ", 2)
    return Head(method, int(timestamp), tuple(orjson.loads(where)) if where != "[]" else ())


def unpack(chunk: Chunk) -> Iterator[tuple[int, Record]]:
    """The numbered records of a chunk."""
    lines = chunk.payload.split(b"\n")
    for seq, i in enumerate(range(0, len(lines), 2), start=chunk.first_seq):
        head = parse_head(lines[i])
        yield seq, Record(head.method, lines[i + 1], head.namespace, head.timestamp)


def singly(chunk: Chunk) -> Iterator[Chunk]:
    """The records of a chunk as chunks of one."""
    lines = chunk.payload.split(b"\n")
    for seq, i in enumerate(range(0, len(lines), 2), start=chunk.first_seq):
        yield chunk._replace(first_seq=seq, last_seq=seq, payload=b"\n".join(lines[i : i + 2]))


def portions(chunk: Chunk, records: int, size: int) -> Iterator[Chunk]:
    """A chunk as chunks of at most so many records and bytes; a single record may have more bytes."""
    if chunk.last_seq - chunk.first_seq < records and len(chunk.payload) <= size:
        yield chunk
        return
    lines = chunk.payload.split(b"\n")
    begin = weight = 0
    for i in range(0, len(lines), 2):
        heavy = len(lines[i]) + len(lines[i + 1]) + 2
        if i > begin and (i - begin >= 2 * records or weight + heavy > size):
            yield _lines_of(chunk, lines, begin, i)
            begin, weight = i, 0
        weight += heavy
    yield _lines_of(chunk, lines, begin, len(lines))


def _lines_of(chunk: Chunk, lines: list[bytes], begin: int, end: int) -> Chunk:
    first_seq, last_seq = chunk.first_seq + begin // 2, chunk.first_seq + end // 2 - 1
    return chunk._replace(first_seq=first_seq, last_seq=last_seq, payload=b"\n".join(lines[begin:end]))


def heads_and_data(chunk: Chunk) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Method, namespace and data of each record as they stand in the payload, in order."""
    lines = chunk.payload.split(b"\n")
    for i in range(0, len(lines), 2):
        method, _, where = lines[i].split(b" ", 2)
        yield method, where, lines[i + 1]


def compress(payload: bytes) -> bytes:
    """A payload as it is stored. Events of one run repeat themselves: long chunks shrink about tenfold."""
    return _COMPRESSED + zlib.compress(payload, 1) if len(payload) >= _COMPRESS_FROM else payload


def decompress(stored: bytes) -> bytes:
    return zlib.decompress(memoryview(stored)[1:]) if stored[:1] == _COMPRESSED else bytes(stored)
