"""Who may write the checkpoints of a thread: the latest of its attempts, and nobody before it."""

from typing import NamedTuple

#: Where the config carries the writer. Keys that begin with two underscores are never stored.
WRITER_KEY = "__writer"


class Writer(NamedTuple):
    """Who writes: an attempt of a run, or a change of state, by its position in the thread."""

    thread_id: str
    position: int
    attempt: int
    #: Of an attempt; empty for a change of state.
    run_id: str = ""
    claim: str = ""


class StaleAttempt(Exception):
    """A write was refused: another attempt has taken the thread over."""
