"""The life of a run, and the only writer of run and thread status.

Every change of status locks the thread first (on SQLite: the whole database, because every transaction here is
`BEGIN IMMEDIATE`) and is a conditional update: whoever changes no row has lost the race and writes nothing. News of
what was committed goes out by `runs.signals`.
"""

from runs.lifecycle.append import Write, lock_threads, write
from runs.lifecycle.cancel import CancelResult, request_cancel
from runs.lifecycle.claim import CLAIM_BATCH, Attempt, claim, heartbeat
from runs.lifecycle.create import (
    BeingDeleted,
    NewRun,
    Place,
    ThreadBusy,
    add_run,
    add_thread,
    add_thread_with_run,
    reserve_position,
    state_changed,
    values_found,
)
from runs.lifecycle.delete import delete_run, delete_thread
from runs.lifecycle.messages import Known, known_messages
from runs.lifecycle.outcome import CANCELLED, ROLLED_BACK, Outcome
from runs.lifecycle.release import reap, release
from runs.lifecycle.torn import LOST_PROCESS, torn
from runs.lifecycle.withhold import publish_thread, withhold_thread

__all__ = [
    "CANCELLED",
    "CLAIM_BATCH",
    "LOST_PROCESS",
    "ROLLED_BACK",
    "Attempt",
    "BeingDeleted",
    "CancelResult",
    "Known",
    "NewRun",
    "Outcome",
    "Place",
    "ThreadBusy",
    "Write",
    "add_run",
    "add_thread",
    "add_thread_with_run",
    "claim",
    "delete_run",
    "delete_thread",
    "heartbeat",
    "known_messages",
    "lock_threads",
    "publish_thread",
    "reap",
    "release",
    "request_cancel",
    "reserve_position",
    "state_changed",
    "torn",
    "values_found",
    "withhold_thread",
    "write",
]
