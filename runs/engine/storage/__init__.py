"""What graphs remember: checkpoints and the items of the store, in SQLite on one machine and in PostgreSQL on many."""

from runs.engine.storage.database import Measures, NoVectors, Unprunable
from runs.engine.storage.fence import WRITER_KEY, StaleAttempt, Writer
from runs.engine.storage.index import Index, NotEmbedded, TooManyTexts
from runs.engine.storage.saver import FencedSaver, open_saver, site_database
from runs.engine.storage.sqlite import SqliteDatabase
from runs.engine.storage.store import Keeping, ReadOnly, Scope

__all__ = [
    "WRITER_KEY",
    "FencedSaver",
    "Index",
    "Keeping",
    "Measures",
    "NoVectors",
    "NotEmbedded",
    "ReadOnly",
    "Scope",
    "SqliteDatabase",
    "StaleAttempt",
    "TooManyTexts",
    "Unprunable",
    "Writer",
    "open_saver",
    "site_database",
]
