"""The checkpointer that graphs are given: LangGraph's saver, with a fence in front of every write.

A write names its writer and is checked against the fence inside its own transaction. So an attempt that was replaced,
even one that slept through it, writes nothing more. What the runs of an engine write at the same time is committed
together, by one thread; what they read is read by a few others.
"""

import asyncio
import copy
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from django.conf import settings
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)

from runs.engine.storage.database import Database, Session, Usage
from runs.engine.storage.fence import WRITER_KEY, StaleAttempt, Writer
from runs.engine.storage.pen import CheckpointPen
from runs.engine.storage.postgres import PostgresDatabase
from runs.engine.storage.readers import Readers
from runs.engine.storage.sqlite import SqliteDatabase
from runs.engine.storage.store import KEEP_ALL, Keeping, Scope, ScopedStore
from runs.langgraph_json import IndexSpec

R = TypeVar("R")

#: How many of `_first` are remembered; forgetting one costs a query.
_MAX_FIRST = 10_000


class FencedSaver(BaseCheckpointSaver[str]):
    """Writes succeed only for the writer that the thread's fence names. Made by `open_saver`."""

    def __init__(self, database: Database, keeping: Keeping = KEEP_ALL) -> None:
        super().__init__()
        self._keeping = keeping
        database.await_setup()
        self._database = database
        self.pen = CheckpointPen(database)
        self._readers = Readers(database)
        #: The checkpoints that each run's writer has made, or found and noted.
        self._known: dict[Writer, set[tuple[str, str]]] = {}
        #: Writers whose runs were rolled back: threads of theirs may still be about.
        self._undone: set[Writer] = set()
        #: Writers that found their thread without a checkpoint, and have written none yet.
        self._first: dict[str, Writer] = {}
        #: Who writes whatever is written, if configs need not say.
        self._bound: Writer | None = None

    def writing_as(self, writer: Writer) -> "FencedSaver":
        """This one for `writer` alone: LangGraph loses parts of a config on its way through several updates."""
        bound = copy.copy(self)
        bound._bound = writer
        return bound

    async def raise_fence(self, writer: Writer) -> None:
        """Let `writer` write from now on and nobody before it.

        Raises StaleAttempt when a later one was here, unless its first write will.
        """
        if not self._database.asks_before(writer):
            is_first = writer.position == 1
        else:
            is_first = await asyncio.wrap_future(self.pen.begin(writer))
        if is_first:
            if len(self._first) >= _MAX_FIRST:
                self._first.clear()
            self._first[writer.thread_id] = writer

    async def drop_updates(self, writer: Writer, run_id: str) -> None:
        """Forget the updates that `writer` left beside the latest checkpoint, unless that is one of its own run.

        They are what a command brought, written before it is known to apply; an answer to an interrupt stays.
        """

        def drop(session: Session) -> None:
            latest = session.saver.get_tuple({"configurable": {"thread_id": writer.thread_id, "checkpoint_ns": ""}})
            if latest is not None and latest.metadata.get("run_id") != run_id:
                session.drop_updates(writer.thread_id, latest.checkpoint["id"])

        await asyncio.wrap_future(self.pen.submit(drop, writer=writer))

    async def roll_back(self, writer: Writer) -> None:
        """Undo all that the run of `writer` did to its thread's checkpoints; it writes nothing any more.

        Doing it again changes nothing. Raises StaleAttempt.
        """
        self._undone.add(writer)
        await asyncio.wrap_future(self.pen.submit(lambda session: session.roll_back(writer), writer=writer))

    def forget(self, writer: Writer) -> None:
        """Its run has left this engine."""
        self._known.pop(writer, None)

    async def purge(self, thread_id: str) -> None:
        """Delete everything of a thread, its fence too: nobody may write to it any more."""

        def purge(session: Session) -> None:
            session.drop_fence(thread_id)
            session.saver.delete_thread(thread_id)

        await asyncio.wrap_future(self.pen.submit(purge))

    async def copy(self, source: str, writer: Writer) -> None:
        """Let the thread of `writer`, which is new, have all that `source` has. Raises StaleAttempt."""
        await self.raise_fence(writer)
        self._first.pop(writer.thread_id, None)
        await asyncio.to_thread(self._alone, writer, lambda session: session.copy_thread(source, writer.thread_id))

    async def keep_latest(self, writer: Writer) -> None:
        """Forget what the latest state of the thread does not need. Raises StaleAttempt and Unprunable."""
        await self.raise_fence(writer)
        await asyncio.to_thread(self._alone, writer, lambda session: session.keep_latest(writer.thread_id))

    async def usage(self, thread_id: str) -> Usage:
        """What a thread takes up."""
        return await asyncio.wrap_future(self._readers.submit(lambda session: session.usage(thread_id)))

    def _alone(self, writer: Writer, work: Callable[[Session], None]) -> None:
        """Do once, on a connection of its own, what may take so long that it would hold up the pen."""
        session = self._database.connect()
        try:
            with session.transaction():
                if not session.holds(writer):
                    raise StaleAttempt
                work(session)
        finally:
            session.close()

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        return await asyncio.wrap_future(self._put(config, checkpoint, metadata, new_versions))

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        return self._put(config, checkpoint, metadata, new_versions).result()

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        await asyncio.wrap_future(self._put_writes(config, writes, task_id, task_path))

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        self._put_writes(config, writes, task_id, task_path).result()

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        writer = config["configurable"].get(WRITER_KEY)
        if writer and self._first.get(config["configurable"]["thread_id"]) == writer:
            return None
        return await self._aread(lambda saver: saver.get_tuple(config))

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return self._read(lambda saver: saver.get_tuple(config))

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        for found in await self._aread(lambda saver: [*saver.list(config, filter=filter, before=before, limit=limit)]):
            yield found

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        yield from self._read(lambda saver: [*saver.list(config, filter=filter, before=before, limit=limit)])

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        return await self._aread(lambda saver: saver.get_delta_channel_history(config=config, channels=channels))

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        return self._read(lambda saver: saver.get_delta_channel_history(config=config, channels=channels))

    def get_next_version(self, current: str | None, channel: None) -> str:
        # As LangGraph's own savers count: versions are compared as text, and two that count from one point differ.
        count = int(current.split(".")[0]) if current else 0
        return f"{count + 1:032}.{random.random():016}"

    def store(self, scope: Scope, writer: Writer | None = None) -> ScopedStore:
        """The items of this tenant beside the checkpoints, for `writer` to write or for everybody to read."""
        writes = writer is not None
        return ScopedStore(self.pen, self._readers, self._keeping, scope, writer=writer, writes=writes)

    def items(self, scope: Scope) -> ScopedStore:
        """The same for the tenant itself, outside of runs, to write too."""
        return ScopedStore(self.pen, self._readers, self._keeping, scope, writes=True)

    async def sweep_items(self) -> None:
        """Delete the items whose lifetime has ended, everybody's."""
        await asyncio.wrap_future(self.pen.submit(lambda session: session.store.sweep_ttl()))

    def close(self) -> None:
        """Write what was handed in, and end."""
        self.pen.stop()
        self._readers.close()

    def _put(self, config: RunnableConfig, *args: Any) -> Future[RunnableConfig]:
        writer = self._writer(config)
        self._first.pop(writer.thread_id, None)
        checkpoint: Checkpoint = args[0]
        self._known.setdefault(writer, set()).add(_named(config, checkpoint["id"]))

        def put(session: Session) -> RunnableConfig:
            return self._with_serde(session.saver).put(_place(config), *args)

        return self.pen.submit(put, writer=writer)

    def _put_writes(self, config: RunnableConfig, *args: Any) -> Future[None]:
        writer = self._writer(config)
        place, known = _named(config, config["configurable"]["checkpoint_id"]), self._known.setdefault(writer, set())
        is_known = not writer.run_id or place in known

        def put_writes(session: Session) -> None:
            if not is_known:
                session.remember(writer, *place)
            self._with_serde(session.saver).put_writes(config, *args)

        written = self.pen.submit(put_writes, writer=writer)
        if not is_known:
            written.add_done_callback(lambda done: None if _failed(done) else known.add(place))
        return written

    def _writer(self, config: RunnableConfig) -> Writer:
        writer = Writer(*(self._bound or config["configurable"][WRITER_KEY]))
        if writer in self._undone:
            raise StaleAttempt
        return writer

    def _with_serde(self, saver: BaseCheckpointSaver[Any]) -> BaseCheckpointSaver[Any]:
        # LangGraph copies this saver to tell it which classes a graph's checkpoints may hold; the store must know too.
        if saver.serde is self.serde:
            return saver
        twin = copy.copy(saver)
        twin.serde = self.serde
        return twin

    def _read(self, work: Callable[[BaseCheckpointSaver[Any]], R]) -> R:
        return self._readers.submit(lambda session: work(self._with_serde(session.saver))).result()

    async def _aread(self, work: Callable[[BaseCheckpointSaver[Any]], R]) -> R:
        return await asyncio.wrap_future(self._readers.submit(lambda session: work(self._with_serde(session.saver))))


def _named(config: RunnableConfig, checkpoint_id: str) -> tuple[str, str]:
    """A checkpoint's namespace and id."""
    return config["configurable"].get("checkpoint_ns", ""), checkpoint_id


def _failed(done: Future[Any]) -> bool:
    return done.cancelled() or done.exception() is not None


def _place(config: RunnableConfig) -> RunnableConfig:
    """Where a checkpoint goes. The library copies the rest of a config, callers' secrets too, into its metadata."""
    configurable = config["configurable"]
    kept: dict[str, Any] = {
        key: configurable[key] for key in ("thread_id", "checkpoint_ns", "checkpoint_id") if key in configurable
    }
    return {**config, "configurable": kept}


def site_database(index: IndexSpec | None) -> Database:
    """Where this site keeps its checkpoints, and its items with `index`."""
    return PostgresDatabase(index) if settings.POSTGRES else SqliteDatabase(settings.CHECKPOINTS_PATH, index)


@asynccontextmanager
async def open_saver(database: Database, keeping: Keeping = KEEP_ALL) -> AsyncIterator[FencedSaver]:
    """The checkpointer on `database`, ready for use."""
    saver = FencedSaver(database, keeping)
    try:
        yield saver
    finally:
        saver.close()
