"""The databases of checkpoints as the contract sees them: who may write there, and what is in them."""

import contextlib
import sqlite3
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
from django.db import connections
from psycopg.rows import tuple_row

from accounts.tenancy import Tenant
from runs.database import in_database
from runs.engine.storage import FencedSaver, SqliteDatabase, Writer
from runs.engine.storage.database import Database
from runs.engine.storage.postgres import PostgresDatabase
from runs.langgraph_json import IndexSpec
from runs.models import Run, Thread
from runs.postgres import connection_parameters
from runs.states import RunStatus
from tests.factories import make_run, make_thread


def attempt_of(position: int, attempt: int, thread_id: str = "thread") -> Writer:
    """An attempt of the run that has this turn on the thread."""
    run_id = uuid.uuid5(uuid.NAMESPACE_OID, f"{thread_id} {position}")
    claim = uuid.uuid5(run_id, str(attempt))
    return Writer(thread_id, position, attempt, str(run_id), str(claim))


class Bench(ABC):
    """One database, and the rows of runs beside it."""

    database: Database

    @abstractmethod
    async def claimed(self, writer: Writer) -> None:
        """Its attempt was claimed, and those before it were not any more."""

    @abstractmethod
    async def turn_taken(self, writer: Writer) -> None:
        """The turn for a change of state was taken."""

    @abstractmethod
    async def deleted(self, thread_id: str) -> None:
        """The thread's rows are gone."""

    @abstractmethod
    def with_index(self, index: IndexSpec) -> Database:
        """The same database, set up to find items by meaning."""

    @abstractmethod
    def ending_lifetimes(self) -> None:
        """All lifetimes of items end a minute sooner, and a second: sweeps may look at whole ones."""

    @abstractmethod
    def rows(self) -> dict[str, int]:
        """How many checkpoints and writes there are."""

    @abstractmethod
    def contents(self) -> list[str]:
        """All that is kept of checkpoints."""

    @abstractmethod
    def another_claims(self, later: Writer) -> contextlib.AbstractContextManager[None]:
        """Another process is about to let `later` write; it has at the end of the block."""

    @abstractmethod
    def held_up(self) -> contextlib.AbstractContextManager[None]:
        """Another process keeps everybody from writing for the thread of `attempt_of(1, 1)`."""

    async def begin(self, saver: FencedSaver, writer: Writer) -> None:
        await self.claimed(writer)
        await saver.raise_fence(writer)


class SqliteBench(Bench):
    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = SqliteDatabase(path)

    async def claimed(self, writer: Writer) -> None:
        """Nothing of it is in the file."""

    turn_taken = claimed

    def with_index(self, index: IndexSpec) -> Database:
        return SqliteDatabase(self.path, index)

    def ending_lifetimes(self) -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute("UPDATE store SET expires_at = datetime(expires_at, '-61 seconds')")

    async def deleted(self, thread_id: str) -> None:
        """Nothing of them was in the file."""

    def rows(self) -> dict[str, int]:
        with closing(sqlite3.connect(self.path)) as connection:
            counted = [
                connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("checkpoints", "writes")
            ]
        return dict(zip(("checkpoints", "writes"), counted, strict=True))

    def contents(self) -> list[str]:
        with closing(sqlite3.connect(self.path)) as connection:
            tables = ("checkpoints", "writes")
            return sorted(repr(row) for table in tables for row in connection.execute(f"SELECT * FROM {table}"))

    @contextlib.contextmanager
    def another_claims(self, later: Writer) -> Iterator[None]:
        with self._busy() as other:
            yield
            other.execute("UPDATE fences SET position = ?, attempt = ?", later[1:3])

    @contextlib.contextmanager
    def held_up(self) -> Iterator[None]:
        with self._busy():
            yield

    @contextlib.contextmanager
    def _busy(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield other
            other.execute("COMMIT")


class PostgresBench(Bench):
    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.database = PostgresDatabase()
        self.database.setup()
        with self._connection() as connection:
            connection.execute("TRUNCATE checkpoints, checkpoint_blobs, checkpoint_writes, store CASCADE")

    async def claimed(self, writer: Writer) -> None:
        await in_database(self._claim, writer)

    async def turn_taken(self, writer: Writer) -> None:
        await in_database(self._take_turn, writer)

    def with_index(self, index: IndexSpec) -> Database:
        database = PostgresDatabase(index)
        database.setup()
        return database

    def ending_lifetimes(self) -> None:
        with self._connection() as connection:
            connection.execute("UPDATE store SET expires_at = expires_at - interval '61 seconds'")

    async def deleted(self, thread_id: str) -> None:
        with self._connection() as connection:
            connection.execute("DELETE FROM runs_run WHERE thread_id = %s", [thread_id])

    def rows(self) -> dict[str, int]:
        with self._connection() as connection:
            return {
                name: connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]
                for name, table in (("checkpoints", "checkpoints"), ("writes", "checkpoint_writes"))
            }

    def contents(self) -> list[str]:
        with self._connection() as connection:
            tables = ("checkpoints", "checkpoint_writes", "checkpoint_blobs")
            return sorted(repr(row) for table in tables for row in connection.execute(f"SELECT * FROM {table}"))

    @contextlib.contextmanager
    def another_claims(self, later: Writer) -> Iterator[None]:
        with self._connection() as other:
            other.execute("UPDATE runs_run SET claim = %s WHERE run_id = %s", [later.claim, later.run_id])
            yield

    @contextlib.contextmanager
    def held_up(self) -> Iterator[None]:
        with self._connection() as other:
            other.execute("SELECT 1 FROM runs_run WHERE run_id = %s FOR UPDATE", [attempt_of(1, 1).run_id])
            yield

    def _connection(self) -> "psycopg.Connection[tuple[int, ...]]":
        return psycopg.connect(**connection_parameters("tests"), row_factory=tuple_row)

    def _claim(self, writer: Writer) -> None:
        try:
            thread = self._thread(writer.thread_id)
            Run.objects.filter(thread=thread, status=RunStatus.RUNNING).update(status=RunStatus.SUCCESS, claim=None)
            found = Run.objects.filter(run_id=writer.run_id)
            if not found.exists():
                make_run(self.tenant, thread, run_id=uuid.UUID(writer.run_id), position=writer.position)
            found.update(status=RunStatus.RUNNING, claim=writer.claim, attempt=writer.attempt)
        finally:
            connections.close_all()

    def _take_turn(self, writer: Writer) -> None:
        try:
            self._thread(writer.thread_id)
            Thread.objects.filter(pk=writer.thread_id).update(last_position=writer.position)
        finally:
            connections.close_all()

    def _thread(self, thread_id: str) -> Thread:
        return Thread.objects.filter(pk=thread_id).first() or make_thread(self.tenant, thread_id=thread_id)
