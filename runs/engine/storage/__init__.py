"""What graphs remember: checkpoints and the items of the store, in SQLite on one machine and in PostgreSQL on many."""

from runs.engine.storage.fence import WRITER_KEY, StaleAttempt, Writer
from runs.engine.storage.saver import FencedSaver, open_saver, site_database
from runs.engine.storage.sqlite import SqliteDatabase
from runs.engine.storage.store import ReadOnly, Scope

__all__ = [
    "WRITER_KEY",
    "FencedSaver",
    "ReadOnly",
    "Scope",
    "SqliteDatabase",
    "StaleAttempt",
    "Writer",
    "open_saver",
    "site_database",
]
