"""The checkpointer of one machine: LangGraph's own for SQLite, in a file of its own, with a fence in front.

The fence is a row per thread in the same file: the position and the attempt that may write. An attempt raises it before
its first step, to itself; a trigger compares it inside the transaction of every write. So an attempt that was replaced,
even one that slept through it, writes nothing more.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiosqlite
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

#: Where the config carries the writer. Keys that begin with two underscores are never stored.
WRITER_KEY = "__writer"

_BUSY_SECONDS = 20
_STALE = "stale attempt"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS fences (
    thread_id TEXT NOT NULL PRIMARY KEY, position INTEGER NOT NULL, attempt INTEGER NOT NULL
);
"""
_GUARD = """
CREATE TEMP TRIGGER IF NOT EXISTS fence_{table} BEFORE INSERT ON main.{table}
WHEN NOT EXISTS (
    SELECT 1 FROM fences WHERE thread_id = writer_thread()
    AND position = writer_position() AND attempt = writer_attempt()
)
BEGIN SELECT RAISE(ABORT, 'stale attempt'); END;
"""
_RAISE = """
INSERT INTO fences (thread_id, position, attempt) VALUES (?, ?, ?)
ON CONFLICT (thread_id) DO UPDATE SET position = excluded.position, attempt = excluded.attempt
WHERE (excluded.position, excluded.attempt) > (fences.position, fences.attempt)
"""


class Writer(NamedTuple):
    """Who writes: an attempt of a run, or a change of state, by its position in the thread."""

    thread_id: str
    position: int
    attempt: int


class StaleAttempt(Exception):
    """The checkpointer refused a write: another attempt has taken the thread over."""


class _Gate:
    """The one writer at a time, as the triggers see it."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.writer = Writer("", 0, 0)


class FencedSqliteSaver(AsyncSqliteSaver):
    """AsyncSqliteSaver whose writes succeed only for the writer that the fence names. Made by `open_saver`."""

    def __init__(self, conn: aiosqlite.Connection) -> None:
        super().__init__(conn)
        self._gate = _Gate()

    async def setup(self) -> None:
        if self.is_setup:
            return
        await super().setup()
        gate = self._gate
        await self.conn.create_function("writer_thread", 0, lambda: gate.writer.thread_id)
        await self.conn.create_function("writer_position", 0, lambda: gate.writer.position)
        await self.conn.create_function("writer_attempt", 0, lambda: gate.writer.attempt)
        await self.conn.executescript(_SCHEMA + _GUARD.format(table="checkpoints") + _GUARD.format(table="writes"))

    async def raise_fence(self, writer: Writer) -> None:
        """Let `writer` write from now on and nobody before it. Raises StaleAttempt when a later one was here."""
        async with self._gate.lock:
            await self.conn.execute(_RAISE, writer)
            await self.conn.commit()
            cursor = await self.conn.execute(
                "SELECT position, attempt FROM fences WHERE thread_id = ?", (writer.thread_id,)
            )
            if tuple(await cursor.fetchone() or ()) != writer[1:]:
                raise StaleAttempt

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        async with self._writing(config):
            return await super().aput(config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        async with self._writing(config):
            await super().aput_writes(config, writes, task_id, task_path)

    async def purge(self, thread_id: str) -> None:
        """Delete everything of a thread, its fence too: nobody may write to it any more."""
        async with self._gate.lock:
            await self.conn.execute("DELETE FROM fences WHERE thread_id = ?", (thread_id,))
            await self.adelete_thread(thread_id)

    @asynccontextmanager
    async def _writing(self, config: RunnableConfig) -> AsyncIterator[None]:
        async with self._gate.lock:
            self._gate.writer = Writer(*config["configurable"][WRITER_KEY])
            try:
                yield
            except sqlite3.IntegrityError as exc:
                await self.conn.rollback()
                if _STALE in str(exc):
                    raise StaleAttempt from exc
                raise



@asynccontextmanager
async def open_saver(path: Path) -> AsyncIterator[FencedSqliteSaver]:
    """The checkpointer in the file at `path`, ready for use."""
    async with aiosqlite.connect(path, timeout=_BUSY_SECONDS) as conn:
        saver = FencedSqliteSaver(conn)
        await saver.setup()
        await conn.execute("PRAGMA synchronous=NORMAL")
        yield saver
