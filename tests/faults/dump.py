"""Reading the databases that a system has left, with SQL of our own: the server's code is what is on trial.

Only the text form of the event log is read with the server's own reader, `runs.records`.
"""

import json
import re
import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from runs.records import Chunk, decompress, unpack
from tests.faults.evidence import CheckpointRow, ChunkRow, Dump, Event, RunRow, ThreadRow

_THREADS = "SELECT thread_id, status, last_seq FROM runs_thread"
_RUNS = """
SELECT run_id, thread_id, status, position, attempt, ended_at, cancel_action, error, kwargs FROM runs_run
"""
_CHUNKS = "SELECT thread_id, run_id, first_seq, last_seq, payload FROM runs_eventchunk ORDER BY first_seq"
_CHECKPOINTS = """
SELECT thread_id, checkpoint_id, parent_checkpoint_id, metadata FROM checkpoints
WHERE checkpoint_ns = '' ORDER BY checkpoint_id
"""
#: Events whose data the checks read.
_TELLING = frozenset({"metadata", "end", "error", "cancel"})
#: Where LangGraph's messages name the attempt they come from.
_ATTEMPT = re.compile(rb'"run_attempt":(\d+)')

Query = Callable[[str], list[tuple[Any, ...]]]


def dump_sqlite(data_dir: Path) -> Dump:
    """What one machine has left; its server must not run any more."""
    with (
        closing(sqlite3.connect(data_dir / "db.sqlite3")) as rows,
        closing(sqlite3.connect(data_dir / "checkpoints.sqlite3")) as checkpoints,
    ):
        return _dump(lambda sql: rows.execute(sql).fetchall(), lambda sql: checkpoints.execute(sql).fetchall())


def dump_postgres(url: str) -> Dump:
    with psycopg.connect(url) as connection:

        def query(sql: str) -> list[tuple[Any, ...]]:
            return connection.execute(sql).fetchall()

        return _dump(query, query)


def _dump(rows: Query, checkpoints: Query) -> Dump:
    found = Dump()
    found.threads = {row[0]: ThreadRow(*row) for row in rows(_THREADS)}
    found.runs = {run.run_id: run for run in map(_run, rows(_RUNS))}
    found.chunks = [_chunk(*row) for row in rows(_CHUNKS)]
    found.checkpoints = [_checkpoint(*row) for row in checkpoints(_CHECKPOINTS)]
    return found


def _run(row: tuple[Any, ...]) -> RunRow:
    run_id, thread_id, status, position, attempt, ended_at, cancel_action, error, kwargs = row
    request = _json(kwargs)
    plan = None if request["command"] else request["input"] or {}
    return RunRow(
        run_id=str(uuid.UUID(str(run_id))),
        thread_id=thread_id,
        status=status,
        position=position,
        attempt=attempt,
        ended_at=_seconds(ended_at),
        cancel_action=cancel_action,
        error=_json(error),
        plan=plan,
        durability=request["durability"],
    )


def _chunk(thread_id: str, run_id: Any, first_seq: int, last_seq: int, payload: Any) -> ChunkRow:
    run = str(uuid.UUID(str(run_id)))
    records = unpack(Chunk(thread_id, run, first_seq, last_seq, decompress(bytes(payload))))
    events = tuple(_event(thread_id, run, seq, record.method, record.data) for seq, record in records)
    return ChunkRow(thread_id, run, first_seq, last_seq, events)


def _event(thread_id: str, run_id: str, seq: int, method: str, data: bytes) -> Event:
    attempt = _ATTEMPT.search(data) if method.startswith("messages") else None
    told = json.loads(data) if method in _TELLING else None
    return Event(thread_id, run_id, seq, method, told, int(attempt[1]) if attempt else 0)


def _checkpoint(thread_id: str, checkpoint_id: str, parent_id: str | None, metadata: Any) -> CheckpointRow:
    about = _json(metadata)
    return CheckpointRow(
        thread_id, checkpoint_id, parent_id, about.get("run_id", ""), about.get("run_attempt", 0), about["source"]
    )


def _json(value: Any) -> Any:
    """A column of JSON: text in SQLite, parsed by the driver of PostgreSQL."""
    return json.loads(value) if isinstance(value, str | bytes) else value


def _seconds(moment: Any) -> float:
    if moment is None:
        return 0.0
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    return float(moment.timestamp())
