"""The events of a thread as the Agent Streaming Protocol shows them, the same for both its transports.

A record becomes one event with its number for an id, or none. One that becomes several has the ids `<seq>.1` and so on,
and all but the last carry the number before: a reader that was cut among them comes back with that number, gets the
record once more, and knows the events it has by their ids. The ids do not depend on what a subscription wants.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import orjson

from runs.protocol import event_data, recorded_messages
from runs.protocol.recorded_messages import RecordedMessages
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
    b"lifecycle": ("lifecycle", "lifecycle"),
    b"tasks": ("tasks", "tasks"),
    b"tool": ("tools", "tools"),
}

#: Records that are told in other words: the method of the events, the channel, and the data of each.
_TOLD: dict[bytes, tuple[str, str, Callable[[bytes], list[bytes]]]] = {
    b"metadata": ("lifecycle", "lifecycle", lambda data: [event_data.running(data)]),
    b"end": ("lifecycle", "lifecycle", lambda data: [event_data.ended(data)]),
    b"values": ("values", "values", lambda data: [event_data.without_interrupts(data)]),
    b"updates": ("updates", "updates", event_data.updates),
    b"input.requested": ("input.requested", "input", lambda data: [event_data.asked(data)]),
    b"checkpoints": (
        "checkpoints",
        "checkpoints",
        lambda data: [found] if (found := event_data.checkpoint(data)) else [],
    ),
}

#: Where an attempt at a run begins or the run ends: what no one goes on with ends before.
_BORDERS = frozenset({b"metadata", b"end"})

_BLOCK = b"block"
#: How the data of a content-block event begins, and what stands after the node.
_NODE, _AFTER_NODE = b'{"node":', b',"event":'

_CUSTOM = b"custom"
_NAMED_CUSTOM = NAMED_CUSTOM.encode()

#: How many places of the tree a stream remembers.
_PLACES = 256


class EventStream:
    """Renders the chunks of a thread for one subscription whose reader has seen what is numbered up to `after`.

    Of a run that records messages other than in content blocks it must see all records, from the first one on.
    """

    def __init__(self, selection: Selection, after: int) -> None:
        self.selection = selection
        self.after = after
        channels = selection.channels
        self._as_they_are = {
            record: (method, _body_of(method))
            for record, (method, channel) in _AS_THEY_ARE.items()
            if channel in channels
        }
        self._told = {
            record: (method, tell) for record, (method, channel, tell) in _TOLD.items() if channel in channels
        }
        self._custom = any(channel == "custom" or channel.startswith(NAMED_CUSTOM) for channel in channels)
        self._messages = "messages" in channels
        self._runs: dict[str, RecordedMessages] = {}
        self._places: dict[bytes, bool] = {_ROOT: selection.covers(())}

    def render(self, chunk: Chunk, once: dict[int, list[Event]] | None = None) -> list[Event]:
        """The events that the subscription wants, of the records that the reader has not seen.

        `once`: what other streams were told of the same records, so that what costs much is made once for all of them.
        """
        lines = chunk.payload.split(b"\n")
        as_they_are, places, after = self._as_they_are, self._places, self.after
        events: list[Event] = []
        seq = chunk.first_seq - 1
        for i in range(0, len(lines), 2):
            seq += 1
            record, timestamp, where = lines[i].split(b" ", 2)
            direct = as_they_are.get(record)
            if direct is None:
                if self._messages and (record in recorded_messages.RECORDS or record in _BORDERS):
                    events += self._render_message(chunk.run_id, seq, record, timestamp, where, lines[i + 1])
                if seq > after:
                    events += self._render_told(seq, record, timestamp, where, lines[i + 1], once)
            elif seq > after and (places[where] if where in places else self._covers(where)):
                method, body = direct
                data = lines[i + 1]
                if record == _BLOCK:
                    where, data = _with_node(where, data)
                events.append(Event(seq, method, body % (seq, seq, where, timestamp, data)))
        return events

    def _render_told(
        self,
        seq: int,
        record: bytes,
        timestamp: bytes,
        where: bytes,
        data: bytes,
        once: dict[int, list[Event]] | None,
    ) -> list[Event]:
        """What a record becomes that is told in other words."""
        told = self._told.get(record)
        if told is not None:
            if not self._covers(where):
                return []
            events = once.get(seq) if once is not None else None
            if events is None:
                method, tell = told
                events = _numbered(seq, method, where, timestamp, tell(data))
                if once is not None:
                    once[seq] = events
            return events
        if self._custom and record.startswith(_CUSTOM) and self._covers(where):
            name, data = _custom(record, data)
            if self.selection.takes(NAMED_CUSTOM + name if name else "custom"):
                return _numbered(seq, "custom", where, timestamp, [data])
        return []

    def _render_message(
        self, run_id: str, seq: int, record: bytes, timestamp: bytes, where: bytes, data: bytes
    ) -> list[Event]:
        """What a record tells of messages that the run does not record in content blocks."""
        if record in _BORDERS:
            run = self._runs.pop(run_id, None)
            return self._render_close(run, seq, timestamp) if run and seq > self.after else []
        run = self._runs.setdefault(run_id, RecordedMessages())
        told = run.take(record, where, data)
        if seq <= self.after or not self._covers(where):
            return []
        return _numbered(seq, "messages", where, timestamp, told)

    def _render_close(self, run: RecordedMessages, seq: int, timestamp: bytes) -> list[Event]:
        # Before the event that the record itself becomes, whose id is the record's number for everyone.
        return [
            _event(b"%d.%d" % (seq, i), seq - 1, "messages", where, timestamp, data)
            for i, (where, data) in enumerate(run.close(), start=1)
            if self._covers(where)
        ]

    def _covers(self, where: bytes) -> bool:
        """Whether the subscription is about this place, a namespace as JSON."""
        covered = self._places.get(where)
        if covered is None:
            if len(self._places) >= _PLACES:
                self._places.clear()
            covered = self._places[where] = self.selection.covers(tuple(orjson.loads(where)))
        return covered


def _body_of(method: str) -> bytes:
    """The body of an event of this method that is the only one of its record."""
    return _BODY.replace(b"%b", b"%d", 1).replace(b"%b", method.encode(), 1)


def _with_node(where: bytes, data: bytes) -> tuple[bytes, bytes]:
    """The place and the data of a content-block event, whose node is told beside its place.

    JavaScript's clients tell the messages of one place apart by it. Inside a text of JSON no bare quote stands.
    """
    if not data.startswith(_NODE):
        return where, data
    end = data.index(_AFTER_NODE)
    return b"%b,%b" % (where, data[1:end]), b"{" + data[end + 1 :]


def _custom(record: bytes, data: bytes) -> tuple[str, bytes]:
    if record == _CUSTOM:
        return event_data.custom(data)
    name = record.removeprefix(_NAMED_CUSTOM).decode()
    return name, event_data.named(name, data)


def _numbered(seq: int, method: str, where: bytes, timestamp: bytes, told: list[bytes]) -> list[Event]:
    """The events that a record becomes."""
    if len(told) == 1:
        return [_event(b"%d" % seq, seq, method, where, timestamp, told[0])]
    last = len(told)
    return [
        _event(b"%d.%d" % (seq, i), seq if i == last else seq - 1, method, where, timestamp, data)
        for i, data in enumerate(told, start=1)
    ]


def _event(event_id: bytes, seq: int, method: str, where: bytes, timestamp: bytes, data: bytes) -> Event:
    return Event(seq, method, _BODY % (event_id, seq, method.encode(), where, timestamp, data))


def state_event(seq: int, values: bytes, timestamp: int) -> Event:
    """The state of a thread, as JSON, where the replay of its events begins: after the number `seq`.

    Its id tells the states apart that the thread had there one after the other: clients pass over an id they have seen.
    """
    data = event_data.without_interrupts(values)
    return _event(b"state.%d-%d" % (seq, timestamp), seq, "values", _ROOT, b"%d" % timestamp, data)


def gap_event(oldest: int | None) -> Event:
    """Says that events between the reader's cursor and `oldest` are not kept any more; None: nor any later one."""
    seq = oldest - 1 if oldest else 0
    data = orjson.dumps({"oldest": oldest})
    return _event(b"gap.%d" % seq, seq, "gap", _ROOT, b"%d" % now_ms(), data)


def sse(events: Iterable[Event]) -> bytes:
    """The events as frames of Server-Sent Events."""
    return b"".join(
        [b"event: %b\r\ndata: %b\r\nid: %d\r\n\r\n" % (method.encode(), body, seq) for seq, method, body in events]
    )
