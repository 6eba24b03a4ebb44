"""News of committed facts. Losing one loses nothing: the rows are the truth, and whoever listens only acts sooner.

All but the first are told by `runs.news`, to every process that shares the database.
"""

from django.dispatch import Signal

#: Chunks of the event log were committed by this process. Argument: `chunks`, a list of `runs.records.Chunk`.
chunks_committed = Signal()

#: There may be pending runs to claim.
runs_pending = Signal()

#: A running run was asked to stop.
cancel_requested = Signal()

#: Threads were deleted and their checkpoints wait to be purged.
threads_deleted = Signal()

#: A process wants to know whether another one has readers of a run that it would cancel. Argument: `about`, its id.
readers_sought = Signal()

#: A process has readers of a run. Argument: `about`, its id.
readers_found = Signal()

#: There may be deliveries to send.
deliveries_due = Signal()
