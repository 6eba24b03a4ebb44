"""The classic stream of a run: what `runs.stream` and `runs.join_stream` of the LangGraph SDKs read.

Every record becomes at most one frame, whose `id` is the record's number, so a client that comes back with the last id
it has seen gets exactly the rest.
"""

import re
from collections.abc import Iterable

import orjson

from runs.protocol.messages import MessageAssembly
from runs.protocol.sse import frame
from runs.records import Chunk, parse_head

#: Records that every reader gets, whatever modes it asked for.
_CONTROL = frozenset({"metadata", "error", "cancel", "end"})

#: Which records a stream mode shows.
_SHOWN = {
    "values": {"values"},
    "updates": {"updates"},
    "messages": {"messages/metadata", "messages/partial", "messages/complete"},
    "messages-tuple": {"messages"},
    "custom": {"custom"},
    "debug": {"debug"},
    "tasks": {"tasks"},
    "checkpoints": {"checkpoints"},
    "events": {"events"},
}
STREAM_MODES = frozenset(_SHOWN)

#: What ends a line of the stream, or does for clients that split lines as Unicode does. Nodes may be named so.
_LINE_BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class ClassicStream:
    """Renders the chunks of one run for one reader.

    It must see the run's records from the first one on when the reader wants whole messages (mode `messages`), since
    each of those frames holds all the text so far: see `needs_history`.
    """

    def __init__(self, modes: Iterable[str], after: int = 0) -> None:
        self._shown = _CONTROL.union(*(_SHOWN[mode] for mode in modes))
        self._after = after
        self._messages = MessageAssembly()
        #: Whether the reader was shown the end.
        self.ended = False

    @property
    def needs_history(self) -> bool:
        return "messages/partial" in self._shown

    def render(self, chunk: Chunk) -> bytes:
        """The frames of those records that the reader wants and has not seen."""
        lines = chunk.payload.split(b"\n")
        frames = []
        for i in range(0, len(lines), 2):
            seq = chunk.first_seq + i // 2
            shown = self._render_one(lines[i], lines[i + 1])
            if shown is not None and seq > self._after:
                frames.append(b"event: %b\r\ndata: %b\r\nid: %d\r\n\r\n" % (*shown, seq))
                self.ended = self.ended or shown[0] == b"end"
        return b"".join(frames)

    def _render_one(self, head: bytes, data: bytes) -> tuple[bytes, bytes] | None:
        method, _, where = head.split(b" ", 2)
        name = method.decode()
        if name not in self._shown:
            return None
        if name == "messages/partial":
            data = self._messages.add(data)
        elif name == "end":
            return self._end()
        if where != b"[]":
            method = _LINE_BREAKS.sub("\ufffd", "|".join([name, *parse_head(head).namespace])).encode()
        return method, data

    def _end(self) -> tuple[bytes, bytes]:
        """How the end of the run is told."""
        return b"end", b"null"

    def gap(self, oldest: int | None) -> bytes:
        """Says that events between the reader's cursor and `oldest` are not kept any more."""
        return frame("gap", orjson.dumps({"oldest": oldest}))

    def close(self) -> bytes:
        """What ends the stream of a reader whom the log shows no `end` (any more)."""
        return b"" if self.ended else frame("end", b"null")
