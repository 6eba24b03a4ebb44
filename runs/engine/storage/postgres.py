"""Checkpoints of many machines: LangGraph's tables beside the site's own, so that a run's row says who may write."""

import json
import logging
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import psycopg
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata
from langgraph.checkpoint.postgres import PostgresSaver
from psycopg import Cursor
from psycopg.rows import DictRow, TupleRow, dict_row
from psycopg.types.json import set_json_loads

from runs.engine.storage import postgres_rollback
from runs.engine.storage.database import (
    DELTAS,
    NULL_TASK_ID,
    RESUME,
    Database,
    Measures,
    Place,
    Session,
    Unprunable,
    Usage,
)
from runs.engine.storage.fence import Writer
from runs.engine.storage.postgres_items import VECTOR_STEPS, PostgresItems
from runs.langgraph_json import IndexSpec
from runs.postgres import connection_parameters, is_transient

logger = logging.getLogger(__name__)

_PATIENCE_SECONDS = 1.0
_SETUP_LOCK = 7305158001
# Division by zero fails the transaction without an answer that one would have to wait for. Rows are held in order, so
# that nobody waits in a ring.
_DEMAND_CLAIMS = """
SELECT 1 / (count(*) = %(many)s)::int FROM (
    SELECT 1 FROM runs_run JOIN unnest(%(runs)s::uuid[], %(claims)s::uuid[]) AS mine (run_id, claim)
    USING (run_id, claim) WHERE status = 'running' ORDER BY run_id FOR SHARE OF runs_run
) AS held
"""
_DEMAND_TURNS = """
SELECT 1 / (count(*) = %(many)s)::int FROM (
    SELECT 1 FROM runs_thread JOIN unnest(%(threads)s::text[], %(turns)s::bigint[]) AS mine (thread_id, last_position)
    USING (thread_id, last_position) ORDER BY thread_id FOR SHARE OF runs_thread
) AS held
"""
_CLAIM = "SELECT claim FROM runs_run WHERE run_id = %s AND status = 'running' FOR SHARE"
_TURN = "SELECT last_position FROM runs_thread WHERE thread_id = %s FOR SHARE"
_DROP = """
DELETE FROM checkpoint_writes
WHERE thread_id = %s AND checkpoint_ns = '' AND checkpoint_id = %s AND task_id = %s AND channel <> %s
"""
# One statement, so that all three tables are seen at one moment.
_COPY = """
WITH copied_checkpoints AS (
    INSERT INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata)
    SELECT %(target)s::text, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata
    FROM checkpoints WHERE thread_id = %(source)s ON CONFLICT DO NOTHING
), copied_blobs AS (
    INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
    SELECT %(target)s::text, checkpoint_ns, channel, version, type, blob
    FROM checkpoint_blobs WHERE thread_id = %(source)s ON CONFLICT DO NOTHING
)
INSERT INTO checkpoint_writes (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob)
SELECT %(target)s::text, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob
FROM checkpoint_writes WHERE thread_id = %(source)s ON CONFLICT DO NOTHING
"""
_HAS_DELTAS = "SELECT 1 FROM checkpoints WHERE thread_id = %s AND metadata ? %s LIMIT 1"
# Of a call of a subgraph only what the latest checkpoint of the graph itself began.
_KEEP_LATEST = (
    """
    WITH heads AS (
        SELECT DISTINCT ON (checkpoint_ns) checkpoint_ns, checkpoint_id, metadata -> 'parents' ->> '' AS root
        FROM checkpoints WHERE thread_id = %(thread_id)s ORDER BY checkpoint_ns, checkpoint_id DESC
    )
    DELETE FROM checkpoints WHERE thread_id = %(thread_id)s AND (checkpoint_ns, checkpoint_id) NOT IN (
        SELECT checkpoint_ns, checkpoint_id FROM heads
        WHERE strpos(checkpoint_ns, ':') = 0
        OR root = (SELECT latest.checkpoint_id FROM heads AS latest WHERE latest.checkpoint_ns = '')
    )
    """,
    """
    DELETE FROM checkpoint_writes WHERE thread_id = %(thread_id)s AND (checkpoint_ns, checkpoint_id) NOT IN (
        SELECT checkpoint_ns, checkpoint_id FROM checkpoints WHERE thread_id = %(thread_id)s
    )
    """,
    """
    UPDATE checkpoints SET parent_checkpoint_id = NULL
    WHERE thread_id = %(thread_id)s AND (checkpoint_ns, parent_checkpoint_id) NOT IN (
        SELECT checkpoint_ns, checkpoint_id FROM checkpoints WHERE thread_id = %(thread_id)s
    )
    """,
    """
    DELETE FROM checkpoint_blobs WHERE thread_id = %(thread_id)s AND (checkpoint_ns, channel, version) NOT IN (
        SELECT checkpoint_ns, used.key, used.value
        FROM checkpoints CROSS JOIN LATERAL jsonb_each_text(checkpoint -> 'channel_versions') AS used
        WHERE thread_id = %(thread_id)s
    )
    """,
)
_MEASURE_CHECKPOINTS = """
SELECT count(*), COALESCE(sum(octet_length(checkpoint::text) + octet_length(metadata::text)), 0)
FROM checkpoints WHERE thread_id = %s
"""
_MEASURE = """
SELECT channel, count(*), COALESCE(sum(octet_length(blob)), 0) FROM {table} WHERE thread_id = %s GROUP BY channel
"""
_MADE_BY = {"checkpoint_migrations": PostgresSaver.MIGRATIONS, "store_migrations": PostgresItems.MIGRATIONS}
_INT64 = range(-(2**63), 2**63)
#: From here on floats are written without a fraction.
_WHOLE = 1e16

Connection = psycopg.Connection[TupleRow]


class PostgresDatabase(Database):
    """The site's own database."""

    readers = 4

    def __init__(self, index: IndexSpec | None = None) -> None:
        self._index = index
        self._made_by = _MADE_BY | ({"vector_migrations": VECTOR_STEPS} if index else {})

    def is_transient(self, error: Exception) -> bool:
        return is_transient(error)

    def await_setup(self) -> None:
        with self._connection("setup") as connection:
            while not self._is_set_up(connection):
                logger.warning("the tables of checkpoints are not there yet: `manage.py migrate` makes them")
                time.sleep(_PATIENCE_SECONDS)

    def setup(self) -> None:
        with self._connection("setup") as connection:
            if self._is_set_up(connection):
                return PostgresItems(connection, self._index).check()
            connection.execute("SET statement_timeout = 0").connection.execute("SET lock_timeout = 0")
            # Not a lock that is waited for: LangGraph makes indexes concurrently, which waits for all who wait.
            while not _value(connection, "SELECT pg_try_advisory_lock(%s)", [_SETUP_LOCK]):
                time.sleep(0.1)
            PostgresSaver(connection).setup()  # type: ignore[arg-type]  # it makes its own cursors
            PostgresItems(connection, self._index).make()
            postgres_rollback.make(connection)

    def asks_before(self, writer: Writer) -> bool:
        # A run's first attempt was claimed a moment ago; a later one may have slept before it got here.
        return not writer.claim or writer.attempt > 1

    def connect(self) -> "_PostgresSession":
        return _PostgresSession(self._connection("checkpoints"), self._index)

    def _connection(self, purpose: str) -> Connection:
        connection = psycopg.connect(**connection_parameters(purpose), autocommit=True)
        set_json_loads(_loads, connection)
        return connection

    def _is_set_up(self, connection: Connection) -> bool:
        made = all(_is_made(connection, table, len(steps)) for table, steps in self._made_by.items())
        return made and postgres_rollback.is_made(connection)


def _is_made(connection: Connection, table: str, steps: int) -> bool:
    """Whether LangGraph has gone all its steps, which it counts in this table from 0."""
    if _value(connection, "SELECT to_regclass(%s)", [table]) is None:
        return False
    last = _value(connection, f"SELECT max(v) FROM {table}")
    return last is not None and last >= steps - 1


def _value(connection: Connection, statement: str, params: Collection[Any] = ()) -> Any:
    row = connection.execute(statement, [*params]).fetchone()
    return row and row[0]


class _Boxed:
    """A plain value that the database's JSON can not hold; it is stored like any other object."""

    def __init__(self, value: Any) -> None:
        self.value = value


class _Saver(PostgresSaver):
    """LangGraph's, in the transaction of whoever calls it.

    By itself it would fail on text with NUL, on surrogates, and on numbers that JSON does not have.
    """

    @contextmanager
    def _cursor(self, *, pipeline: bool = False) -> Iterator[Cursor[DictRow]]:
        # A pipeline within the caller's would wait for the answers so far, twice.
        with _cursor(self.conn) as cursor:
            yield cursor

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        values = {key: value if _is_json(value) else _Boxed(value) for key, value in _values(checkpoint)}
        return super().put(config, {**checkpoint, "channel_values": values}, metadata, new_versions)

    def _dump_blobs(
        self, thread_id: str, checkpoint_ns: str, values: dict[str, Any], versions: ChannelVersions
    ) -> list[tuple[str, str, str, str, str, bytes | None]]:
        unboxed = {key: value.value if isinstance(value, _Boxed) else value for key, value in values.items()}
        return super()._dump_blobs(thread_id, checkpoint_ns, unboxed, versions)


def _values(checkpoint: Checkpoint) -> Iterator[tuple[str, Any]]:
    values: Mapping[str, Any] = checkpoint["channel_values"]
    yield from values.items()


def _is_json(value: Any) -> bool:
    """Whether LangGraph may put the value into a column of JSON; all but plain values it stores otherwise anyway."""
    if isinstance(value, str):
        return ("\0" not in value and value.isascii()) or _is_text(value)
    if isinstance(value, float):
        # Larger ones come back as integers.
        return abs(value) < _WHOLE
    return not isinstance(value, int) or value in _INT64


def _is_text(value: str) -> bool:
    try:
        return b"\0" not in value.encode()
    except UnicodeEncodeError:
        return False


def _loads(text: str | bytes) -> Any:
    """JSON as the database tells it: 1e300 in digits, which is no integer for anybody else."""
    return json.loads(text, parse_int=_number)


def _number(digits: str) -> int | float:
    value = int(digits)
    return value if value in _INT64 else float(digits)


def _cursor(connection: Any) -> Cursor[DictRow]:
    return cast(Cursor[DictRow], connection.cursor(binary=True, row_factory=dict_row))


class _PostgresSession(Session):
    """An attempt may write while the run's row carries its claim; a change of state while no later turn was taken."""

    def __init__(self, connection: Connection, index: IndexSpec | None) -> None:
        self._connection = connection
        self.saver = _Saver(connection)  # type: ignore[arg-type]  # it makes its own cursors
        self.store: PostgresItems = PostgresItems(connection, index)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        # Statements go out without waiting for the answers to those before them.
        with self._connection.pipeline(), self._connection.transaction():
            yield

    def raise_fences(self, writers: Collection[Writer]) -> set[str]:
        # The rows were changed by whoever claimed the run or took the turn. The first turn of a thread finds nothing.
        return {writer.thread_id for writer in writers if (writer.position, writer.attempt) == (1, 1)}

    def demand(self, writers: Collection[Writer]) -> None:
        runs = [(writer.run_id, writer.claim) for writer in writers if writer.claim]
        turns = [(writer.thread_id, writer.position) for writer in writers if not writer.claim]
        if runs:
            held = {"runs": [run for run, _ in runs], "claims": [claim for _, claim in runs], "many": len(runs)}
            self._connection.execute(_DEMAND_CLAIMS, held)
        if turns:
            held = {"threads": [of for of, _ in turns], "turns": [turn for _, turn in turns], "many": len(turns)}
            self._connection.execute(_DEMAND_TURNS, held)

    def holds(self, writer: Writer) -> bool:
        statement, of, wanted = _CLAIM, writer.run_id, writer.claim
        if not writer.claim:
            statement, of, wanted = _TURN, writer.thread_id, str(writer.position)
        found = self._connection.execute(statement, [of]).fetchone()
        return found is not None and str(found[0]) == wanted

    def drop_updates(self, thread_id: str, checkpoint_id: str) -> None:
        self._connection.execute(_DROP, [thread_id, checkpoint_id, NULL_TASK_ID, RESUME])

    def remember(self, writer: Writer, namespace: str, checkpoint_id: str) -> None:
        postgres_rollback.remember(self._connection, writer, namespace, checkpoint_id)

    def roll_back(self, writer: Writer) -> None:
        postgres_rollback.roll_back(self._connection, writer)

    def drop_fence(self, thread_id: str) -> None:
        # The rows that let somebody write went with the thread.
        postgres_rollback.forget(self._connection, thread_id)

    def copy_thread(self, source: str, target: str) -> None:
        self._connection.execute(_COPY, {"source": source, "target": target})

    def keep_latest(self, thread_id: str) -> None:
        if self._connection.execute(_HAS_DELTAS, [thread_id, DELTAS]).fetchone():
            raise Unprunable
        for statement in _KEEP_LATEST:
            self._connection.execute(statement, {"thread_id": thread_id})

    def usage(self, thread_id: str) -> Usage:
        found = self._connection.execute(_MEASURE_CHECKPOINTS, [thread_id]).fetchall()
        return Usage(
            (int(found[0][0]), int(found[0][1])),
            self._measures("checkpoint_blobs", thread_id),
            self._measures("checkpoint_writes", thread_id),
        )

    def _measures(self, table: str, thread_id: str) -> Measures:
        rows = self._connection.execute(_MEASURE.format(table=table), [thread_id])
        return {channel: (int(count), int(size)) for channel, count, size in rows.fetchall()}

    def expiring(self, places: Collection[Place]) -> list[Place]:
        return self.store.expiring([*places])

    def renew(self, places: Collection[Place]) -> None:
        self.store.renew([*places])

    def close(self) -> None:
        self._connection.close()
