"""Reading the databases that a system has left, with SQL of our own: the server's code is what is on trial.

Only the text form of the event log is read with the server's own reader, `runs.records`, and what checkpoints hold with
LangGraph's.
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
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver

from runs.records import Chunk, decompress, unpack
from tests.faults.evidence import (
    CheckpointRow,
    ChunkRow,
    DeliveryRow,
    Dump,
    Event,
    MessageRow,
    RunRow,
    StateRow,
    ThreadRow,
)

_THREADS = 'SELECT thread_id, status, last_seq, "values", interrupts FROM runs_thread'
_RUNS = """
SELECT run_id, thread_id, status, position, attempt, ended_at, cancel_action, error, kwargs, started_at,
    multitask_strategy, after_seq, webhook, metadata
FROM runs_run
"""
_CHUNKS = "SELECT thread_id, run_id, first_seq, last_seq, payload FROM runs_eventchunk ORDER BY first_seq"
_CHECKPOINTS = """
SELECT thread_id, checkpoint_id, parent_checkpoint_id, metadata FROM checkpoints
WHERE checkpoint_ns = '' ORDER BY checkpoint_id
"""
_DELIVERIES = "SELECT delivery_id, run_id, status FROM runs_delivery"
_MESSAGES = "SELECT run_id, thread_id, message_id FROM runs_message"
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
        return _dump(
            lambda sql: rows.execute(sql).fetchall(),
            lambda sql: checkpoints.execute(sql).fetchall(),
            SqliteSaver(checkpoints),
        )


def dump_postgres(url: str) -> Dump:
    with psycopg.connect(url) as connection:

        def query(sql: str) -> list[tuple[Any, ...]]:
            return connection.execute(sql).fetchall()

        return _dump(query, query, PostgresSaver(connection))  # type: ignore[arg-type]  # it makes its own cursors


def _dump(rows: Query, checkpoints: Query, saver: BaseCheckpointSaver[Any]) -> Dump:
    found = Dump()
    found.threads = {row[0]: ThreadRow(*row[:3], *(_json(value) or {} for value in row[3:])) for row in rows(_THREADS)}
    found.runs = {run.run_id: run for run in map(_run, rows(_RUNS))}
    found.chunks = [_chunk(*row) for row in rows(_CHUNKS)]
    found.checkpoints = [_checkpoint(*row) for row in checkpoints(_CHECKPOINTS)]
    states = [_state(saver, thread_id) for thread_id in found.threads]
    found.states = {state.thread_id: state for state in states if state}
    found.deliveries = [DeliveryRow(str(pk), _id(run_id), status) for pk, run_id, status in rows(_DELIVERIES)]
    found.messages = [MessageRow(_id(run_id), *row) for run_id, *row in rows(_MESSAGES)]
    return found


def _run(row: tuple[Any, ...]) -> RunRow:
    run_id, thread_id, status, position, attempt, ended_at, cancel_action, error, kwargs, *more = row
    started_at, strategy, after_seq, webhook, metadata = more
    request, about = _json(kwargs), _json(metadata)
    command = request["command"]
    return RunRow(
        run_id=_id(run_id),
        thread_id=thread_id,
        status=status,
        position=position,
        attempt=attempt,
        ended_at=_seconds(ended_at),
        cancel_action=cancel_action,
        error=_json(error),
        plan=None if command else request["input"] or {},
        durability=request["durability"],
        started_at=_seconds(started_at),
        strategy=strategy,
        after_seq=after_seq,
        answer=command and command["resume"],
        has_webhook=bool(webhook),
        **{name: about[name] for name in ("key", "part", "parts") if name in about},
    )


def _chunk(thread_id: str, run_id: Any, first_seq: int, last_seq: int, payload: Any) -> ChunkRow:
    run = _id(run_id)
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


def _state(saver: BaseCheckpointSaver[Any], thread_id: str) -> StateRow | None:
    latest = saver.get_tuple({"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}})
    if latest is None:
        return None
    pending = frozenset(channel for _, channel, _ in latest.pending_writes or ())
    return StateRow(thread_id, latest.metadata.get("run_id", ""), latest.checkpoint["channel_values"], pending)


def _id(value: Any) -> str:
    """A column of ids: text without hyphens in SQLite."""
    return str(uuid.UUID(str(value)))


def _json(value: Any) -> Any:
    """A column of JSON: text in SQLite, parsed by the driver of PostgreSQL."""
    return json.loads(value) if isinstance(value, str | bytes) else value


def _seconds(moment: Any) -> float:
    if moment is None:
        return 0.0
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    return float(moment.timestamp())
