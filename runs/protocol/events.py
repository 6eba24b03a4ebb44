"""The events of a thread as the Agent Streaming Protocol shows them, the same for both its transports.

A record becomes one event with its number for an id, or none. One that becomes several has the ids `<seq>.1` and so on,
and all but the last carry the number before: a reader that was cut among them comes back with that number, gets the
record once more, and knows the events it has by their ids.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import orjson

from runs.protocol import event_data
from runs.protocol.selection import NAMED_CUSTOM, Selection
from runs.records import Chunk, now_ms


class Event(NamedTuple):
    """One event on its way to a reader."""

    #: Where a reader goes on that has seen it: all that the log tells up to this number was shown.
    seq: int
    method: str
    #: The whole event as JSON.
    body: bytes


_BODY = b'{"type":"event","event_id":"%b","seq":%d,"method":"%b","params":{"namespace":%b,"timestamp":%b,"data":%b}}'
_ROOT = b"[]"

#: Records whose data is the event's: the method of the event, and the channel.
_AS_THEY_ARE: dict[bytes, tuple[str, str]] = {
    b"block": ("messages", "messages"),
    b"checkpoint": ("checkpoints", "checkpoints"),
    b"input.requested": ("input.requested", "input"),
    b"lifecycle": ("lifecycle", "lifecycle"),
    b"tasks": ("tasks", "tasks"),
    b"tool": ("tools", "tools"),
}

#: Records that are told in other words: the method of the events, which is their channel, and the data of each.
_TOLD: dict[bytes, tuple[str, Callable[[bytes], list[bytes]]]] = {
    b"metadata": ("lifecycle", lambda data: [event_data.running(data)]),
    b"end": ("lifecycle", lambda data: [event_data.ended(data)]),
    b"values": ("values", lambda data: [event_data.without_interrupts(data)]),
    b"updates": ("updates", event_data.updates),
    b"checkpoints": ("checkpoints", lambda data: [found] if (found := event_data.checkpoint(data)) else []),
}

_CUSTOM = b"custom"
_NAMED_CUSTOM = NAMED_CUSTOM.encode()

#: How many places of the tree a stream remembers.
_PLACES = 256


class EventStream:
    """Renders the chunks of a thread for one subscription whose reader has seen what is numbered up to `after`.

    Of a run that records whole messages it must see all records, from the first one on.
    """

    def __init__(self, selection: Selection, after: int) -> None:
        self._selection = selection
        self._after = after
        channels = selection.channels
        self._as_they_are = {
            record: (method, method.encode())
            for record, (method, channel) in _AS_THEY_ARE.items()
            if channel in channels
        }
        self._told = {record: told for record, told in _TOLD.items() if told[0] in channels}
        self._custom = any(channel == "custom" or channel.startswith(NAMED_CUSTOM) for channel in channels)
        self._places: dict[bytes, bool] = {_ROOT: selection.covers(())}

    def render(self, chunk: Chunk) -> list[Event]:
        """The events that the subscription wants, of the records that the reader has not seen."""
        lines = chunk.payload.split(b"\n")
        as_they_are, places, after = self._as_they_are, self._places, self._after
        events: list[Event] = []
        seq = chunk.first_seq - 1
        for i in range(0, len(lines), 2):
            seq += 1
            if seq <= after:
                continue
            record, timestamp, where = lines[i].split(b" ", 2)
            direct = as_they_are.get(record)
            if direct is None:
                self._render_told(events, seq, record, timestamp, where, lines[i + 1])
            elif places[where] if where in places else self._covers(where):
                method, name = direct
                body = _BODY % (b"%d" % seq, seq, name, where, timestamp, lines[i + 1])
                events.append(Event(seq, method, body))
        return events

    def _render_told(
        self, events: list[Event], seq: int, record: bytes, timestamp: bytes, where: bytes, data: bytes
    ) -> None:
        told = self._told.get(record)
        if told is not None:
            if self._covers(where):
                events += _numbered(seq, told[0], where, timestamp, told[1](data))
        elif self._custom and record.startswith(_CUSTOM) and self._covers(where):
            name, data = _custom(record, data)
            if self._selection.takes(NAMED_CUSTOM + name if name else "custom"):
                events += _numbered(seq, "custom", where, timestamp, [data])

    def _covers(self, where: bytes) -> bool:
        """Whether the subscription is about this place, a namespace as JSON."""
        covered = self._places.get(where)
        if covered is None:
            if len(self._places) >= _PLACES:
                self._places.clear()
            covered = self._places[where] = self._selection.covers(tuple(orjson.loads(where)))
        return covered


def _custom(record: bytes, data: bytes) -> tuple[str, bytes]:
    if record == _CUSTOM:
        return event_data.custom(data)
    name = record.removeprefix(_NAMED_CUSTOM).decode()
    return name, event_data.named(name, data)


def _numbered(seq: int, method: str, where: bytes, timestamp: bytes, told: list[bytes]) -> list[Event]:
    """The events that a record becomes."""
    name = method.encode()
    if len(told) == 1:
        return [Event(seq, method, _BODY % (b"%d" % seq, seq, name, where, timestamp, told[0]))]
    last = len(told)
    return [
        Event(number, method, _BODY % (b"%d.%d" % (seq, i), number, name, where, timestamp, data))
        for i, data in enumerate(told, start=1)
        for number in [seq if i == last else seq - 1]
    ]


def state_event(seq: int, values: bytes, timestamp: int) -> Event:
    """The state of a thread, as JSON, where the replay of its events begins: after the number `seq`."""
    data = event_data.without_interrupts(values)
    return Event(seq, "values", _BODY % (b"state.%d" % seq, seq, b"values", _ROOT, b"%d" % timestamp, data))


def gap_event(oldest: int | None) -> Event:
    """Says that events between the reader's cursor and `oldest` are not kept any more; None: nor any later one."""
    seq = oldest - 1 if oldest else 0
    data = orjson.dumps({"oldest": oldest})
    return Event(seq, "gap", _BODY % (b"gap.%d" % seq, seq, b"gap", _ROOT, b"%d" % now_ms(), data))


def sse(events: Iterable[Event]) -> bytes:
    """The events as frames of Server-Sent Events."""
    return b"".join(
        [b"event: %b\r\ndata: %b\r\nid: %d\r\n\r\n" % (method.encode(), body, seq) for seq, method, body in events]
    )
