"""Stand-ins for what surrounds the code under test."""

import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import psycopg
from channels.layers import InMemoryChannelLayer
from django.conf import settings
from django.dispatch import Signal

from runs.postgres import connection_parameters
from runs.records import Chunk, Record, unpack
from runs.wire import CHANNEL, topic_of


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


class Notebook:
    """A journal that keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def append(self, record: Record) -> None:
        self.records.append(record)


def numbered(chunks: list[Chunk]) -> list[tuple[int, str]]:
    """The number and the method of each event."""
    return [(seq, record.method) for chunk in chunks for seq, record in unpack(chunk)]
