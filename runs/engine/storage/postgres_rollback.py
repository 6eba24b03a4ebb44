"""Undoing on PostgreSQL what a run did to its thread's checkpoints: see `Session.remember` and `Session.roll_back`."""

from typing import Any

import psycopg
from psycopg.rows import TupleRow

from runs.engine.storage.fence import Writer

Connection = psycopg.Connection[TupleRow]

# What runs that may still be rolled back found beside the checkpoints of others.
_REMEMBERED = """
CREATE TABLE IF NOT EXISTS remembered_checkpoints (
    thread_id TEXT NOT NULL, run_id TEXT NOT NULL, checkpoint_ns TEXT NOT NULL, checkpoint_id TEXT NOT NULL,
    PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id)
);
DROP TABLE IF EXISTS remembered_writes;
CREATE TABLE remembered_writes (LIKE checkpoint_writes);
CREATE INDEX remembered_writes_of ON remembered_writes (thread_id)
"""
_COLUMNS = """
SELECT array_agg(attname::text ORDER BY attnum) FROM pg_attribute
WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
"""
_OF_CHECKPOINT = "thread_id = %(thread)s AND checkpoint_ns = %(namespace)s AND checkpoint_id = %(checkpoint)s"
_MADE = "metadata ->> 'run_id' = %(run)s"
# Of another run: what it remembered is of no use any more.
_FORGET_OTHERS = """
WITH others AS (
    DELETE FROM remembered_checkpoints WHERE thread_id = %(thread)s AND run_id <> %(run)s RETURNING 1
)
DELETE FROM remembered_writes WHERE thread_id = %(thread)s AND EXISTS (SELECT 1 FROM others)
"""
_REMEMBER = f"""
WITH kept AS (
    INSERT INTO remembered_checkpoints
    SELECT %(thread)s, %(run)s, %(namespace)s, %(checkpoint)s
    WHERE NOT EXISTS (SELECT 1 FROM checkpoints WHERE {_OF_CHECKPOINT} AND {_MADE})
    ON CONFLICT DO NOTHING RETURNING 1
)
INSERT INTO remembered_writes SELECT * FROM checkpoint_writes WHERE {_OF_CHECKPOINT} AND EXISTS (SELECT 1 FROM kept)
"""
_ROLL_BACK = (
    f"""
    DELETE FROM checkpoint_writes WHERE thread_id = %(thread)s AND (checkpoint_ns, checkpoint_id) IN (
        SELECT checkpoint_ns, checkpoint_id FROM checkpoints WHERE thread_id = %(thread)s AND {_MADE}
        UNION ALL
        SELECT checkpoint_ns, checkpoint_id FROM remembered_checkpoints
        WHERE thread_id = %(thread)s AND run_id = %(run)s
    )
    """,
    # A version that a checkpoint did not make itself is one of its parent's.
    f"""
    WITH made AS (
        SELECT checkpoint_ns, parent_checkpoint_id, checkpoint FROM checkpoints WHERE thread_id = %(thread)s AND {_MADE}
    ), found AS (
        SELECT checkpoint_ns, checkpoint FROM checkpoints
        WHERE thread_id = %(thread)s AND {_MADE} IS NOT TRUE
        AND (checkpoint_ns, checkpoint_id) IN (SELECT checkpoint_ns, parent_checkpoint_id FROM made)
    ), gone AS (
        SELECT checkpoint_ns, version.key, version.value
        FROM made CROSS JOIN LATERAL jsonb_each_text(checkpoint -> 'channel_versions') AS version
        EXCEPT
        SELECT checkpoint_ns, version.key, version.value
        FROM found CROSS JOIN LATERAL jsonb_each_text(checkpoint -> 'channel_versions') AS version
    )
    DELETE FROM checkpoint_blobs USING gone
    WHERE thread_id = %(thread)s AND checkpoint_blobs.checkpoint_ns = gone.checkpoint_ns
    AND channel = gone.key AND version = gone.value
    """,
    f"DELETE FROM checkpoints WHERE thread_id = %(thread)s AND {_MADE}",
    """
    INSERT INTO checkpoint_writes SELECT * FROM remembered_writes WHERE thread_id = %(thread)s AND EXISTS (
        SELECT 1 FROM remembered_checkpoints WHERE thread_id = %(thread)s AND run_id = %(run)s
    )
    """,
    "DELETE FROM remembered_writes WHERE thread_id = %(thread)s",
    "DELETE FROM remembered_checkpoints WHERE thread_id = %(thread)s",
)


def is_made(connection: Connection) -> bool:
    """Whether copies of writes have the columns of writes, which a later LangGraph may change."""
    copies = _columns(connection, "remembered_writes")
    return copies is not None and copies == _columns(connection, "checkpoint_writes")


def make(connection: Connection) -> None:
    if not is_made(connection):
        connection.execute(_REMEMBERED)


def remember(connection: Connection, writer: Writer, namespace: str, checkpoint_id: str) -> None:
    about = {"thread": writer.thread_id, "run": writer.run_id, "namespace": namespace, "checkpoint": checkpoint_id}
    for statement in (_FORGET_OTHERS, _REMEMBER):
        connection.execute(statement, about)


def roll_back(connection: Connection, writer: Writer) -> None:
    for statement in _ROLL_BACK:
        connection.execute(statement, {"thread": writer.thread_id, "run": writer.run_id})


def forget(connection: Connection, thread_id: str) -> None:
    for table in ("remembered_writes", "remembered_checkpoints"):
        connection.execute(f"DELETE FROM {table} WHERE thread_id = %s", [thread_id])


def _columns(connection: Connection, table: str) -> Any:
    row = connection.execute(_COLUMNS, [table]).fetchone()
    return row and row[0]
