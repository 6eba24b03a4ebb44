"""The stream of a thread across its runs: what `threads.join_stream` of the LangGraph SDKs reads."""

from collections.abc import Iterable

import orjson

from runs.protocol.classic import STREAM_MODES, ClassicStream
from runs.records import Chunk

#: What each mode shows beside the beginnings and ends of runs.
_RUN_MODES: dict[str, frozenset[str]] = {
    "run_modes": STREAM_MODES,
    "lifecycle": frozenset(),
    "state_update": frozenset({"values"}),
}
THREAD_MODES = frozenset(_RUN_MODES)


class ThreadStream:
    """Renders the chunks of a thread for one reader, who has seen what is numbered up to `after`.

    A run begins with `metadata` and its id, and ends with `metadata` and `run_done`; the stream has no end.
    """

    def __init__(self, modes: Iterable[str], after: int) -> None:
        self._modes = frozenset[str]().union(*(_RUN_MODES[mode] for mode in modes))
        self._after = after
        self._runs: dict[str, _RunOfThread] = {}

    def render(self, chunk: Chunk) -> bytes:
        run = self._runs.setdefault(chunk.run_id, _RunOfThread(chunk.run_id, self._modes, self._after))
        frames = run.render(chunk)
        if run.over:
            del self._runs[chunk.run_id]
        return frames


class _RunOfThread(ClassicStream):
    def __init__(self, run_id: str, modes: Iterable[str], after: int) -> None:
        super().__init__(modes, after)
        self._run_id = run_id
        self.over = False

    def _end(self) -> tuple[bytes, bytes]:
        self.over = True
        return b"metadata", orjson.dumps({"status": "run_done", "run_id": self._run_id})
