"""The event log of a thread: read after a cursor, and follow as it grows. Appending is part of `runs.lifecycle`."""

from runs.log.follow import StreamCut, ends, follow, follow_run, read_run
from runs.log.hub import Hub, current_hub
from runs.log.read import edges, oldest_seq, read_run_after, start_of_run_at

__all__ = [
    "Hub",
    "StreamCut",
    "current_hub",
    "edges",
    "ends",
    "follow",
    "follow_run",
    "oldest_seq",
    "read_run",
    "read_run_after",
    "start_of_run_at",
]
