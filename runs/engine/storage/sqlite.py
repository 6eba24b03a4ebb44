"""Checkpoints of one machine: a SQLite file of its own, with a row per thread in it that says who may write."""

import contextlib
import fcntl
import json
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.utils import search_where

from runs.engine.storage.database import DELTAS, NULL_TASK_ID, RESUME, Database, Place, Session, Unprunable, Usage
from runs.engine.storage.fence import StaleAttempt, Writer
from runs.engine.storage.filters import SQLITE_EQUAL
from runs.engine.storage.sqlite_items import Connection, SqliteItems
from runs.jsons import contains, equal_texts
from runs.langgraph_json import IndexSpec

_BUSY_SECONDS = 20
#: The file is held by another process, or its disk fails or is full.
_TRANSIENT_CODES = {
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL),
    *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOMEM),
}
_FENCES = """
CREATE TABLE IF NOT EXISTS fences (
    thread_id TEXT NOT NULL PRIMARY KEY, position INTEGER NOT NULL, attempt INTEGER NOT NULL
)
"""
_RAISE = """
INSERT INTO fences (thread_id, position, attempt) VALUES (?, ?, ?)
ON CONFLICT (thread_id) DO UPDATE SET position = excluded.position, attempt = excluded.attempt
WHERE (excluded.position, excluded.attempt) > (fences.position, fences.attempt)
"""
_FENCE = "SELECT thread_id, position, attempt FROM fences WHERE thread_id IN ({places})"
_DROP = """
DELETE FROM writes WHERE thread_id = ? AND checkpoint_ns = '' AND checkpoint_id = ? AND task_id = ? AND channel <> ?
"""
_COPY_CHECKPOINTS = """
INSERT OR IGNORE INTO checkpoints
    (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata)
SELECT :target, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata
FROM checkpoints WHERE thread_id = :source
"""
_COPY_WRITES = """
INSERT OR IGNORE INTO writes (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value)
SELECT :target, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value
FROM writes WHERE thread_id = :source
"""
_HAS_DELTAS = f"""
SELECT 1 FROM checkpoints WHERE thread_id = ? AND instr(CAST(metadata AS TEXT), '"{DELTAS}"') LIMIT 1
"""
# Of a call of a subgraph only what the latest checkpoint of the graph itself began.
_DROP_OLDER = """
WITH heads AS (
    SELECT checkpoint_ns, max(checkpoint_id) AS checkpoint_id,
        json_extract(CAST(metadata AS TEXT), '$.parents.""') AS root
    FROM checkpoints WHERE thread_id = :thread_id GROUP BY checkpoint_ns
)
DELETE FROM checkpoints WHERE thread_id = :thread_id AND (checkpoint_ns, checkpoint_id) NOT IN (
    SELECT checkpoint_ns, checkpoint_id FROM heads
    WHERE instr(checkpoint_ns, ':') = 0
    OR root = (SELECT latest.checkpoint_id FROM heads AS latest WHERE latest.checkpoint_ns = '')
)
"""
_DROP_UNUSED = (
    """
    DELETE FROM writes WHERE thread_id = :thread_id AND (checkpoint_ns, checkpoint_id) NOT IN (
        SELECT checkpoint_ns, checkpoint_id FROM checkpoints WHERE thread_id = :thread_id
    )
    """,
    """
    UPDATE checkpoints SET parent_checkpoint_id = NULL
    WHERE thread_id = :thread_id AND (checkpoint_ns, parent_checkpoint_id) NOT IN (
        SELECT checkpoint_ns, checkpoint_id FROM checkpoints WHERE thread_id = :thread_id
    )
    """,
)
_MEASURE_CHECKPOINTS = """
SELECT count(*), COALESCE(sum(length(checkpoint) + length(metadata)), 0) FROM checkpoints WHERE thread_id = ?
"""
_MEASURE_WRITES = """
SELECT channel, count(*), COALESCE(sum(length(value)), 0) FROM writes WHERE thread_id = ? GROUP BY channel
"""
# What runs that may still be rolled back found beside the checkpoints of others; copies have the columns of `writes`.
_REMEMBERED = """
CREATE TABLE IF NOT EXISTS remembered (
    thread_id TEXT NOT NULL, run_id TEXT NOT NULL, checkpoint_ns TEXT NOT NULL, checkpoint_id TEXT NOT NULL,
    PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id)
)
"""
_REMEMBERED_WRITES = "CREATE TABLE IF NOT EXISTS remembered_writes AS SELECT * FROM writes WHERE FALSE"
_REMEMBERED_INDEX = "CREATE INDEX IF NOT EXISTS remembered_writes_of ON remembered_writes (thread_id)"
_PLACES = (
    "SELECT thread_id, checkpoint_ns, checkpoint_id, metadata FROM checkpoints {where} ORDER BY checkpoint_id DESC"
)
_OF_CHECKPOINT = "thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?"
_MADE = "json_extract(CAST(metadata AS TEXT), '$.run_id') = ?"


class SqliteDatabase(Database):
    """The file at `path`, made for its owner alone."""

    readers = 1

    def __init__(self, path: Path, index: IndexSpec | None = None) -> None:
        self._path = path
        self._index = index

    def is_transient(self, error: Exception) -> bool:
        if not isinstance(error, sqlite3.OperationalError):
            return False
        return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_BUSY) & 0xFF in _TRANSIENT_CODES

    def await_setup(self) -> None:
        self.setup()

    def setup(self) -> None:
        with self._alone(), closing(self._connection()) as connection:
            SqliteSaver(connection).setup()
            SqliteItems(connection, self._index).setup()
            if _columns(connection, "remembered_writes") != _columns(connection, "writes"):
                connection.execute("DROP TABLE IF EXISTS remembered_writes")
            for statement in (_FENCES, _REMEMBERED, _REMEMBERED_WRITES, _REMEMBERED_INDEX):
                connection.execute(statement)

    def asks_before(self, writer: Writer) -> bool:
        return True

    def connect(self) -> "_SqliteSession":
        return _SqliteSession(self._connection(), self._index)

    def _connection(self) -> Connection:
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False, factory=Connection
        )
        connection.create_function(SQLITE_EQUAL, 2, equal_texts, deterministic=True)
        connection.execute("PRAGMA synchronous=NORMAL")
        # An item's vectors go with it.
        connection.execute("PRAGMA foreign_keys=ON")
        return connection

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold back the other engines: of two that make the file at once, SQLite refuses one without waiting."""
        with open(f"{self._path}.setup", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # SQLite would make the file for everybody to read, and those beside it. One that is there is not touched.
            with contextlib.suppress(FileExistsError):
                self._path.touch(mode=0o600, exist_ok=False)
            yield


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", [table])]


class _Saver(SqliteSaver):
    """LangGraph's, in the transaction of whoever calls it.

    By itself it would take a period in a key of metadata for a path, and fail on some.
    """

    @contextmanager
    def cursor(self, transaction: bool = True) -> Iterator[sqlite3.Cursor]:
        with closing(self.conn.cursor()) as cursor:
            yield cursor

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        if not filter:
            yield from super().list(config, before=before, limit=limit)
            return
        where, params = search_where(config, None, before)
        rows = self.conn.execute(_PLACES.format(where=where), params).fetchall()
        places = [place for *place, metadata in rows if contains(json.loads(metadata or b"{}"), filter)]
        for thread_id, namespace, checkpoint_id in places[:limit]:
            place = {"thread_id": thread_id, "checkpoint_ns": namespace, "checkpoint_id": checkpoint_id}
            yield from super().list({"configurable": place})


class _SqliteSession(Session):
    def __init__(self, connection: Connection, index: IndexSpec | None) -> None:
        self._connection = connection
        self.saver = _Saver(connection)
        self.saver.is_setup = True
        self.store: SqliteItems = SqliteItems(connection, index)
        self.store.use()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            yield
            execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                execute("ROLLBACK")

    def raise_fences(self, writers: Collection[Writer]) -> set[str]:
        threads = {writer.thread_id for writer in writers}
        known = {thread_id for thread_id, *_ in self._fences(threads)}
        self._connection.executemany(_RAISE, [writer[:3] for writer in writers])
        return threads - known

    def demand(self, writers: Collection[Writer]) -> None:
        fences = set(self._fences({writer.thread_id for writer in writers}))
        if any(writer[:3] not in fences for writer in writers):
            raise StaleAttempt

    def holds(self, writer: Writer) -> bool:
        return writer[:3] in self._fences([writer.thread_id])

    def _fences(self, threads: Collection[str]) -> list[tuple[str, int, int]]:
        if not threads:
            return []
        statement = _FENCE.format(places=", ".join("?" * len(threads)))
        return self._connection.execute(statement, [*threads]).fetchall()

    def drop_updates(self, thread_id: str, checkpoint_id: str) -> None:
        self._connection.execute(_DROP, (thread_id, checkpoint_id, NULL_TASK_ID, RESUME))

    def remember(self, writer: Writer, namespace: str, checkpoint_id: str) -> None:
        execute = self._connection.execute
        place = (writer.thread_id, namespace, checkpoint_id)
        if execute(f"SELECT 1 FROM checkpoints WHERE {_OF_CHECKPOINT} AND {_MADE}", (*place, writer.run_id)).fetchone():
            return
        runs = {run_id for (run_id,) in execute("SELECT run_id FROM remembered WHERE thread_id = ?", place[:1])}
        if runs - {writer.run_id}:
            self._forget(writer.thread_id)
        kept = execute("INSERT OR IGNORE INTO remembered VALUES (?, ?, ?, ?)", (place[0], writer.run_id, *place[1:]))
        if kept.rowcount:
            execute(f"INSERT INTO remembered_writes SELECT * FROM writes WHERE {_OF_CHECKPOINT}", place)

    def roll_back(self, writer: Writer) -> None:
        execute = self._connection.execute
        place = (writer.thread_id, writer.run_id)
        made = f"SELECT checkpoint_ns, checkpoint_id FROM checkpoints WHERE thread_id = ? AND {_MADE}"
        found = "SELECT checkpoint_ns, checkpoint_id FROM remembered WHERE thread_id = ? AND run_id = ?"
        for which in (made, found):
            execute(
                f"DELETE FROM writes WHERE thread_id = ? AND (checkpoint_ns, checkpoint_id) IN ({which})",
                (writer.thread_id, *place),
            )
        execute(f"DELETE FROM checkpoints WHERE thread_id = ? AND {_MADE}", place)
        if execute("SELECT 1 FROM remembered WHERE thread_id = ? AND run_id = ?", place).fetchone():
            execute("INSERT INTO writes SELECT * FROM remembered_writes WHERE thread_id = ?", place[:1])
        self._forget(writer.thread_id)

    def _forget(self, thread_id: str) -> None:
        for table in ("remembered", "remembered_writes"):
            self._connection.execute(f"DELETE FROM {table} WHERE thread_id = ?", (thread_id,))

    def drop_fence(self, thread_id: str) -> None:
        self._connection.execute("DELETE FROM fences WHERE thread_id = ?", (thread_id,))
        self._forget(thread_id)

    def copy_thread(self, source: str, target: str) -> None:
        for statement in (_COPY_CHECKPOINTS, _COPY_WRITES):
            self._connection.execute(statement, {"source": source, "target": target})

    def keep_latest(self, thread_id: str) -> None:
        if self._connection.execute(_HAS_DELTAS, (thread_id,)).fetchone():
            raise Unprunable
        for statement in (_DROP_OLDER, *_DROP_UNUSED):
            self._connection.execute(statement, {"thread_id": thread_id})

    def usage(self, thread_id: str) -> Usage:
        count, size = self._connection.execute(_MEASURE_CHECKPOINTS, (thread_id,)).fetchone()
        writes = self._connection.execute(_MEASURE_WRITES, (thread_id,)).fetchall()
        latest = self.saver.get_tuple({"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}})
        held = latest.checkpoint["channel_values"] if latest else {}
        values = {channel: (1, len(self.saver.serde.dumps_typed(value)[1])) for channel, value in held.items()}
        rest = size - sum(of for _, of in values.values())
        return Usage((count, max(rest, 0)), values, {channel: (many, of) for channel, many, of in writes})

    def expiring(self, places: Collection[Place]) -> list[Place]:
        return self.store.expiring([*places])

    def renew(self, places: Collection[Place]) -> None:
        self.store.renew([*places])

    def close(self) -> None:
        self._connection.close()
