"""The fences of the checkpointer's file as a host handles them: see `runs.engine.storage`."""

import sqlite3
from contextlib import closing
from pathlib import Path


def lower_fences(path: Path) -> None:
    """Let whoever comes next write again. Only when nobody else can: at the start of the only host.

    A fence can be ahead of the database where its attempts are counted, when that came out of an older backup or lost
    its last commits in a power cut; then no attempt would ever be let through.
    """
    if not path.exists():
        return
    with closing(sqlite3.connect(path, timeout=20)) as connection, connection:
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'fences'").fetchone():
            connection.execute("UPDATE fences SET position = 0, attempt = 0")
