"""The checkpointer of one machine: LangGraph's store for SQLite, in a file of its own, with a fence in front.

The fence is a row per thread in the same file: the position and the attempt that may write. An attempt raises it to
itself before its first step, and every write looks at it inside its own transaction. So an attempt that was replaced,
even one that slept through it, writes nothing more.

What the runs of an engine write at the same time is committed together, by one thread.
"""

import asyncio
import contextlib
import copy
import fcntl
import queue
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)
from langgraph.checkpoint.sqlite import SqliteSaver

R = TypeVar("R")

#: Where the config carries the writer. Keys that begin with two underscores are never stored.
WRITER_KEY = "__writer"

_BUSY_SECONDS = 20
#: How many of `_first` are remembered; forgetting one costs a query.
_MAX_FIRST = 10_000
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
_DROP = """
DELETE FROM writes WHERE thread_id = ? AND checkpoint_ns = '' AND checkpoint_id = ? AND task_id = ? AND channel <> ?
"""
#: Under which LangGraph keeps what no task wrote, and the channel of answers to interrupts.
NULL_TASK_ID = "00000000-0000-0000-0000-000000000000"
RESUME = "__resume__"
_FENCE = "SELECT thread_id, position, attempt FROM fences WHERE thread_id = ?"


class Writer(NamedTuple):
    """Who writes: an attempt of a run, or a change of state, by its position in the thread."""

    thread_id: str
    position: int
    attempt: int


class StaleAttempt(Exception):
    """The checkpointer refused a write: another attempt has taken the thread over."""


class FencedSqliteSaver(BaseCheckpointSaver[str]):
    """Writes succeed only for the writer that the thread's fence names. Made by `open_saver`."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        with _alone(path), closing(_connect(path)) as connection:
            SqliteSaver(connection).setup()
            connection.execute(_FENCES)
        self._reader = SqliteSaver(_connect(path))
        self._reader.is_setup = True
        self._reads = ThreadPoolExecutor(1, thread_name_prefix="checkpoint-reads")
        self._pen = _Pen(path)
        #: Writers that found their thread without a fence, so without a checkpoint, and have written none yet.
        self._first: dict[str, Writer] = {}

    async def raise_fence(self, writer: Writer) -> None:
        """Let `writer` write from now on and nobody before it. Raises StaleAttempt when a later one was here."""

        def raise_it(store: SqliteSaver) -> bool:
            before = store.conn.execute(_FENCE, (writer.thread_id,)).fetchone()
            store.conn.execute(_RAISE, writer)
            _check(store, writer)
            return before is None

        if await self._write(raise_it):
            if len(self._first) >= _MAX_FIRST:
                self._first.clear()
            self._first[writer.thread_id] = writer

    async def drop_updates(self, writer: Writer, run_id: str) -> None:
        """Forget the updates that `writer` left beside the latest checkpoint, unless that is one of its own run.

        They are what a command brought, written before it is known to apply; an answer to an interrupt stays.
        """

        def drop(store: SqliteSaver) -> None:
            _check(store, writer)
            latest = store.get_tuple({"configurable": {"thread_id": writer.thread_id, "checkpoint_ns": ""}})
            if latest is not None and latest.metadata.get("run_id") != run_id:
                store.conn.execute(_DROP, (writer.thread_id, latest.checkpoint["id"], NULL_TASK_ID, RESUME))

        await self._write(drop)

    async def purge(self, thread_id: str) -> None:
        """Delete everything of a thread, its fence too: nobody may write to it any more."""

        def purge(store: SqliteSaver) -> None:
            store.conn.execute("DELETE FROM fences WHERE thread_id = ?", (thread_id,))
            store.delete_thread(thread_id)

        await self._write(purge)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        return await self._write(self._put(config, checkpoint, metadata, new_versions))

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        return self._pen.submit(self._put(config, checkpoint, metadata, new_versions)).result()

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        await self._write(self._put_writes(config, writes, task_id, task_path))

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        self._pen.submit(self._put_writes(config, writes, task_id, task_path)).result()

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        writer = config["configurable"].get(WRITER_KEY)
        if writer and self._first.get(config["configurable"]["thread_id"]) == writer:
            return None
        return await self._read(lambda: self.get_tuple(config))

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return self._with_serde(self._reader).get_tuple(config)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        for found in await self._read(lambda: list(self.list(config, filter=filter, before=before, limit=limit))):
            yield found

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        return self._with_serde(self._reader).list(config, filter=filter, before=before, limit=limit)

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        return await self._read(lambda: self.get_delta_channel_history(config=config, channels=channels))

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        return self._with_serde(self._reader).get_delta_channel_history(config=config, channels=channels)

    def get_next_version(self, current: str | None, channel: None) -> str:
        return self._reader.get_next_version(current, channel)

    def close(self) -> None:
        """Write what was handed in, and end."""
        self._pen.stop()
        self._reads.shutdown()
        self._reader.conn.close()

    def _put(self, config: RunnableConfig, *args: Any) -> "Callable[[SqliteSaver], RunnableConfig]":
        writer = Writer(*config["configurable"][WRITER_KEY])
        self._first.pop(writer.thread_id, None)

        def put(store: SqliteSaver) -> RunnableConfig:
            _check(store, writer)
            return self._with_serde(store).put(_place(config), *args)

        return put

    def _put_writes(self, config: RunnableConfig, *args: Any) -> "Callable[[SqliteSaver], None]":
        writer = Writer(*config["configurable"][WRITER_KEY])

        def put_writes(store: SqliteSaver) -> None:
            _check(store, writer)
            self._with_serde(store).put_writes(config, *args)

        return put_writes

    def _with_serde(self, store: SqliteSaver) -> SqliteSaver:
        # LangGraph copies this saver to tell it which classes a graph's checkpoints may hold; the store must know too.
        if store.serde is self.serde:
            return store
        twin = copy.copy(store)
        twin.serde = self.serde
        return twin

    async def _write(self, work: "Callable[[SqliteSaver], R]") -> R:
        return await asyncio.wrap_future(self._pen.submit(work))

    async def _read(self, work: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._reads, work)


def _place(config: RunnableConfig) -> RunnableConfig:
    """Where a checkpoint goes. The library copies the rest of a config, callers' secrets too, into its metadata."""
    configurable = config["configurable"]
    kept: dict[str, Any] = {
        key: configurable[key] for key in ("thread_id", "checkpoint_ns", "checkpoint_id") if key in configurable
    }
    return {**config, "configurable": kept}


def _check(store: SqliteSaver, writer: Writer) -> None:
    if store.conn.execute(_FENCE, (writer.thread_id,)).fetchone() != writer:
        raise StaleAttempt


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold back the other engines that start: of two that make the file at once, SQLite refuses one without waiting."""
    with open(f"{path}.setup", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        # SQLite would make the file for everybody to read, and those beside it. One that is there is not touched.
        with contextlib.suppress(FileExistsError):
            path.touch(mode=0o600, exist_ok=False)
        yield


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection


class _Store(SqliteSaver):
    """LangGraph's store, in the transaction of whoever calls it."""

    @contextmanager
    def cursor(self, transaction: bool = True) -> Iterator[sqlite3.Cursor]:
        with closing(self.conn.cursor()) as cursor:
            yield cursor


_Item = tuple[Callable[[SqliteSaver], Any], "Future[Any]"]


class _Pen:
    """The writing thread: all that has gathered while it committed is its next transaction."""

    def __init__(self, path: Path) -> None:
        self._store = _Store(_connect(path))
        self._store.is_setup = True
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="checkpoint-pen", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[SqliteSaver], R]) -> "Future[R]":
        """Do `work` in a transaction; the future is done after its commit, or has what `work` raised."""
        future: Future[R] = Future()
        self._queue.put((work, future))
        return future

    def stop(self) -> None:
        self._queue.put(None)
        self._thread.join()
        self._store.conn.close()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            batch = [item]
            while not self._queue.empty() and (item := self._queue.get()) is not None:
                batch.append(item)
            self._commit(batch)
            if item is None:
                return

    def _commit(self, batch: Sequence[_Item]) -> None:
        # Whoever was cancelled while it waited does not wait any more; from here on nobody can be.
        batch = [(work, future) for work, future in batch if future.set_running_or_notify_cancel()]
        execute = self._store.conn.execute
        answers: list[tuple[Future[Any], Any, BaseException | None]] = []
        try:
            execute("BEGIN IMMEDIATE")
            for work, future in batch:
                answers.append((future, *self._attempt(work)))
            execute("COMMIT")
        except sqlite3.Error as exc:
            if self._store.conn.in_transaction:
                execute("ROLLBACK")
            answers = [(future, None, exc) for _, future in batch]
        for future, result, error in answers:
            if error:
                future.set_exception(error)
            else:
                future.set_result(result)

    def _attempt(self, work: Callable[[SqliteSaver], Any]) -> tuple[Any, BaseException | None]:
        """One piece of the transaction; what it raises undoes that piece alone."""
        execute = self._store.conn.execute
        execute("SAVEPOINT piece")
        try:
            result = work(self._store)
        except Exception as exc:  # whatever a value's serialization raises is its writer's
            execute("ROLLBACK TO piece")
            execute("RELEASE piece")
            return None, exc
        execute("RELEASE piece")
        return result, None


@asynccontextmanager
async def open_saver(path: Path) -> AsyncIterator[FencedSqliteSaver]:
    """The checkpointer in the file at `path`, ready for use."""
    saver = FencedSqliteSaver(path)
    try:
        yield saver
    finally:
        saver.close()
