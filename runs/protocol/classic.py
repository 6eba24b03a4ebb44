"""The classic stream of a run: what `runs.stream` and `runs.join_stream` of the LangGraph SDKs read.

Every record becomes at most one frame, whose `id` is the record's number, so a client that comes back with the last id
it has seen gets exactly the rest. Only a content-block event may become two, for a reader that wants messages both in
pieces and as a whole: first the piece, and then all of the message so far, which the next one would tell too.
"""

import re
from collections.abc import Iterable

import orjson

from runs.protocol import classic_data
from runs.protocol.messages import MessageAssembly
from runs.protocol.pieces import MessagePieces
from runs.protocol.sse import frame
from runs.records import Chunk

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
    each of those frames holds all the text so far; or messages of a run that records them as content blocks
    (`in_blocks`), which say only where they begin what they are: see `needs_history`.
    """

    def __init__(self, modes: Iterable[str], after: int = 0, *, in_blocks: bool = False) -> None:
        self._shown = _CONTROL.union(*(_SHOWN[mode] for mode in modes))
        self._after = after
        self._whole, self._in_pieces = "messages/partial" in self._shown, "messages" in self._shown
        self._in_blocks = in_blocks
        self._messages = MessageAssembly()
        self._pieces = MessagePieces()
        #: Whether the reader was shown the end.
        self.ended = False

    @property
    def needs_history(self) -> bool:
        return self._whole or (self._in_blocks and self._in_pieces)

    def render(self, chunk: Chunk) -> bytes:
        """The frames of those records that the reader wants and has not seen."""
        lines = chunk.payload.split(b"\n")
        frames = []
        for i in range(0, len(lines), 2):
            seq = chunk.first_seq + i // 2
            record, _, where = lines[i].split(b" ", 2)
            if record == b"block":
                shown = self._render_block(where, lines[i + 1])
            else:
                shown = self._render_one(chunk.thread_id, record.decode(), where, lines[i + 1])
            if shown and seq > self._after:
                frames += [b"event: %b\r\ndata: %b\r\nid: %d\r\n\r\n" % (*one, seq) for one in shown]
                self.ended = self.ended or record == b"end"
        return b"".join(frames)

    def _render_one(self, thread_id: str, name: str, where: bytes, data: bytes) -> list[tuple[bytes, bytes]]:
        """Event and data of the frame, if the reader wants it."""
        if name == "checkpoint":
            if "checkpoints" not in self._shown:
                return []
            name, data = "checkpoints", classic_data.checkpoint(thread_id, orjson.loads(where), data)
        elif name not in self._shown:
            return []
        elif name == "messages/partial":
            data = self._messages.add(data)
        elif name == "metadata":
            data = classic_data.attempt(data)
        elif name == "end":
            return [self._end()]
        return [(_event(name, where), data)]

    def _render_block(self, where: bytes, data: bytes) -> list[tuple[bytes, bytes]]:
        """Event and data of the frames that a content-block event becomes."""
        told = self._pieces.take(where, data) if self._whole or self._in_pieces else None
        if told is None:
            return []
        if told.piece is None:
            about = b'{%b:{"metadata":%b}}' % (told.message_id, told.metadata)
            return [(_event("messages/metadata", where), about)] if self._whole else []
        shown = []
        if self._in_pieces:
            shown.append((_event("messages", where), b"[%b,%b]" % (told.piece, told.metadata)))
        if self._whole:
            shown.append((_event("messages/partial", where), self._messages.add(b"[%b]" % told.piece)))
        return shown

    def _end(self) -> tuple[bytes, bytes]:
        """How the end of the run is told."""
        return b"end", b"null"

    def gap(self, oldest: int | None) -> bytes:
        """Says that events between the reader's cursor and `oldest` are not kept any more."""
        return frame("gap", orjson.dumps({"oldest": oldest}))

    def close(self) -> bytes:
        """What ends the stream of a reader whom the log shows no `end` (any more)."""
        return b"" if self.ended else frame("end", b"null")


def _event(name: str, where: bytes) -> bytes:
    """The name of a frame's event: that of what it tells, then the namespace."""
    if where == b"[]":
        return name.encode()
    return _LINE_BREAKS.sub("\ufffd", "|".join([name, *orjson.loads(where)])).encode()
