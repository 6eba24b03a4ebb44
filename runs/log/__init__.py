"""The event log of a thread: read after a cursor, and follow as it grows. Appending is part of `runs.lifecycle`."""

from runs.log.follow import Follower, StreamCut, ends, follow, follow_run, pages, read_run
from runs.log.hub import Hub, current_hub
from runs.log.read import (
    edges,
    oldest_seq,
    oldest_seq_of_thread,
    read_run_after,
    read_run_back,
    read_visible_after,
    start_of_runs_at,
)

__all__ = [
    "Follower",
    "Hub",
    "StreamCut",
    "current_hub",
    "edges",
    "ends",
    "follow",
    "follow_run",
    "oldest_seq",
    "oldest_seq_of_thread",
    "pages",
    "read_run",
    "read_run_after",
    "read_run_back",
    "read_visible_after",
    "start_of_runs_at",
]
