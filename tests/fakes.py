"""Stand-ins for what surrounds the code under test."""

import asyncio
import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import psycopg
from channels.layers import InMemoryChannelLayer
from django.conf import settings
from django.dispatch import Signal

from runs.engine.storage.database import Database, Session
from runs.news import CHANNEL, topic_of
from runs.postgres import connection_parameters
from runs.records import Chunk, Record, unpack
from runs.tally import Tally


@contextmanager
def heard(signal: Signal) -> Iterator[list[dict[str, Any]]]:
    """The arguments of each sending of `signal` meanwhile."""
    sendings: list[dict[str, Any]] = []

    def hear(**arguments: Any) -> None:
        sendings.append(arguments)

    signal.connect(hear, weak=False)
    try:
        topic = topic_of(signal) if settings.POSTGRES else None
        with _told(topic, sendings) if topic else nullcontext():
            yield sendings
    finally:
        signal.disconnect(hear)


@contextmanager
def _told(topic: str, sendings: list[dict[str, Any]]) -> Iterator[None]:
    """What processes tell each other meanwhile; no listener of this one's sends it as signals."""
    with psycopg.connect(**connection_parameters("tests"), autocommit=True) as listener:
        listener.execute(f"LISTEN {CHANNEL}")
        yield
        listener.execute("SELECT pg_notify(%s, 'all')", [CHANNEL])
        for news in listener.notifies(timeout=10):
            if news.payload == "all":
                break
            name, _, about = news.payload.partition(" ")
            if name == topic:
                sendings.append({"about": about})


class ForgetfulLayer(InMemoryChannelLayer):
    """A channel layer that loses every message."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        pass


class UnreliableLayer(InMemoryChannelLayer):
    """A channel layer that loses every third message, as it happens."""

    chance = random.Random(3)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        if self.chance.random() > 1 / 3:
            await super().group_send(group, message)


#: Channel layers, by what becomes of the doorbell.
LAYERS = {
    "live": {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 10000}},
    "full": {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 1}},
    "unreliable": {"BACKEND": "tests.fakes.UnreliableLayer"},
    "silent": {"BACKEND": "tests.fakes.ForgetfulLayer"},
}


class Notebook:
    """A journal that keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def append(self, record: Record, tally: Tally | None = None) -> None:
        self.records.append(record)


def numbered(chunks: list[Chunk]) -> list[tuple[int, str]]:
    """The number and the method of each event."""
    return [(seq, record.method) for chunk in chunks for seq, record in unpack(chunk)]


class FaultyLayer(InMemoryChannelLayer):
    """A channel layer whose `faulty` questions raise or, when it `hangs`, are never answered; it counts them all."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.faulty: set[str] = set()
        self.hangs = False
        self.asked: Counter[str] = Counter()

    async def _pass(self, question: str) -> None:
        self.asked[question] += 1
        if question in self.faulty:
            if not self.hangs:
                raise ConnectionError("the layer is away")
            await asyncio.Event().wait()

    async def new_channel(self, prefix: str = "specific") -> str:
        await self._pass("new_channel")
        return await super().new_channel(prefix)

    async def receive(self, channel: str) -> dict[str, Any]:
        await self._pass("receive")
        return await super().receive(channel)

    async def group_add(self, group: str, channel: str) -> None:
        await self._pass("group_add")
        await super().group_add(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        await self._pass("group_discard")
        await super().group_discard(group, channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        await self._pass("group_send")
        await super().group_send(group, message)


class FaultyDatabase:
    """Another database, which fails in a transient way at each of its points as often as it is told.

    `connect`; `read`, outside of transactions; `write`, in the middle of one; `commit`; `answer`, when it has committed
    and nobody hears of it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.outage = psycopg.OperationalError if settings.POSTGRES else sqlite3.OperationalError
        #: How often each point still fails.
        self.failures: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def fail(self, point: str) -> None:
        """Raise if it is this point's turn."""
        if self.failures[point]:
            self.failures[point] -= 1
            raise self.outage(f"the database is away ({point})")

    def connect(self) -> "_FaultySession":
        self.fail("connect")
        return _FaultySession(self, self._database.connect())


class _FaultySession:
    """A session that is of no use any more when it has failed."""

    def __init__(self, faults: FaultyDatabase, session: Session) -> None:
        self._faults = faults
        self._session = session
        self._broken = False
        #: How many pieces of work the transaction that is open has begun; None outside of one.
        self._begun: int | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def _fail(self, point: str) -> None:
        if self._broken:
            raise self._faults.outage("the connection is closed")
        self._broken = True
        self._faults.fail(point)
        self._broken = False

    @property
    def saver(self) -> Any:
        if self._begun is None:
            self._fail("read")
        else:
            self._begun += 1
            if self._begun > 1:
                self._fail("write")
        return self._session.saver

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._begun = 0
        try:
            with self._session.transaction():
                yield
                self._fail("commit")
            self._fail("answer")
        finally:
            self._begun = None
