"""What a lost process has left open in the log of a run: messages and subgraphs that were begun and not ended."""

import uuid
from collections.abc import Iterator
from typing import Any

import orjson

from runs.models import EventChunk
from runs.records import Record, decompress, now_ms

#: What readers are told of it.
LOST_PROCESS = "The run lost its process."

#: How many rows one read brings; an attempt that was lost early has few.
_PAGE = 8

#: What begins something, and what ends it. No JSON holds these inside of a text.
_BORDERS: dict[bytes, tuple[tuple[bytes, ...], tuple[bytes, ...]]] = {
    b"block": ((b'"event":"message-start"',), (b'"event":"message-finish"', b'"event":"error"')),
    b"lifecycle": (
        (b'"event":"started"',),
        (b'"event":"completed"', b'"event":"failed"', b'"event":"interrupted"'),
    ),
}


def torn(run_id: uuid.UUID, error: str = LOST_PROCESS) -> list[Record]:
    """The ends of what stands open in the log of a run that was started by the streaming protocol, inmost first.

    An attempt ends what the one before has left before it says anything itself. So it is enough to look back to where
    the last one begins that has said something.
    """
    said = False
    ended: set[tuple[bytes, str | None]] = set()
    messages: list[Record] = []
    subgraphs: list[Record] = []
    for method, where, data in _records_back(run_id):
        if method == b"metadata":
            if said:
                break
            continue
        said = True
        for known in _borders(method, data):
            place = where, known.get("id")
            if known["event"] not in ("message-start", "started"):
                ended.add(place)
            elif place in ended:
                ended.remove(place)
            elif method == b"block":
                messages.append(_end_of_message(where, known, error))
            else:
                subgraphs.append(_end_of_subgraph(where, error))
    return [*messages, *subgraphs]


def _borders(method: bytes, data: bytes) -> Iterator[dict[str, Any]]:
    """The event that a record holds, if it begins or ends something."""
    begins, ends = _BORDERS.get(method, ((), ()))
    if any(border in data for border in (*begins, *ends)):
        event = orjson.loads(data)
        # What a block holds may look like one.
        if b'"event":%b' % orjson.dumps(event["event"]) in (*begins, *ends):
            yield event


def _end_of_message(where: bytes, start: dict[str, Any], error: str) -> Record:
    data = {"node": start.get("node", ""), "event": "error", "message": error, "id": start.get("id")}
    return _record("block", where, data)


def _end_of_subgraph(where: bytes, error: str) -> Record:
    return _record("lifecycle", where, {"event": "failed", "namespace": orjson.loads(where), "error": error})


def _record(method: str, where: bytes, data: Any) -> Record:
    return Record(method, orjson.dumps(data), tuple(orjson.loads(where)), now_ms())


def _records_back(run_id: uuid.UUID) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Method, namespace as JSON and data of each record of a run, the last one first."""
    for payload in _payloads_back(run_id):
        lines = payload.split(b"\n")
        for i in range(len(lines) - 2, -1, -2):
            method, _, where = lines[i].split(b" ", 2)
            yield method, where, lines[i + 1]


def _payloads_back(run_id: uuid.UUID) -> Iterator[bytes]:
    before: int | None = None
    while True:
        rows = EventChunk.objects.filter(run_id=run_id).order_by("-last_seq")
        if before is not None:
            rows = rows.filter(last_seq__lt=before)
        page = list(rows.values_list("last_seq", "payload")[:_PAGE])
        yield from (decompress(bytes(payload)) for _, payload in page)
        if len(page) < _PAGE:
            return
        before = page[-1][0]
