"""News of committed facts. Sent after the commit, in the process that committed; losing one loses nothing.

The rows are the truth: whoever listens here only acts sooner than it would by looking at them.
"""

from django.dispatch import Signal

#: Chunks of the event log were committed. Argument: `chunks`, a list of `runs.records.Chunk`.
chunks_committed = Signal()

#: There may be pending runs to claim.
runs_pending = Signal()

#: A running run was asked to stop.
cancel_requested = Signal()

#: Threads were deleted and their checkpoints wait to be purged.
threads_deleted = Signal()
