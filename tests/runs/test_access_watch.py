"""The watch over those who read for long: few questions, however many they are."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import OperationalError

from accounts.tenancy import Tenant
from runs.api import access
from runs.api.access import AccessLost, current_watch
from runs.identifiers import new_id
from runs.services.readers import Reading

TENANT = Tenant(new_id(), new_id(), frozenset())
NOW = datetime.now(UTC)
NEVER = 60.0


class Database:
    """Answers what it was told to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.refused: dict[str, int] = {}
        self.there: set[str] = set()
        self.away = False
        #: How often it did not answer, by what it was asked.
        self.unanswered: Counter[str] = Counter()
        self.asked: list[list[str]] = []
        self.looked: list[list[str]] = []

    async def __call__(self, function: Callable[..., Any], readings: Sequence[Reading]) -> Any:
        await asyncio.sleep(0)
        if self.away:
            self.unanswered[function.__name__] += 1
            raise OperationalError("away")
        return function(readings)

    def refusals(self, readings: Sequence[Reading]) -> list[int | None]:
        self.asked.append([reading.thread_id for reading in readings])
        return [self.refused.get(reading.thread_id) for reading in readings]

    def arrivals(self, readings: Sequence[Reading]) -> list[datetime | None]:
        self.looked.append([reading.thread_id for reading in readings])
        return [NOW if reading.thread_id in self.there else None for reading in readings]


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    database = Database()
    monkeypatch.setattr(access, "in_database", database)
    for name in ("refusals", "arrivals"):
        monkeypatch.setattr(access, name, getattr(database, name))
    monkeypatch.setattr(access, "ACCESS_SECONDS", 0.01)
    monkeypatch.setattr(access, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(access, "POLL_SECONDS", NEVER)
    return database


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def test_all_are_asked_for_together(database: Database) -> None:
    woken: list[int] = []
    names = [f"thread-{number}" for number in range(500)]
    with ExitStack() as stack:
        readers = [
            stack.enter_context(current_watch().reading(TENANT, name, lambda n=number: woken.append(n)))  # type: ignore[misc]
            for number, name in enumerate(names)
        ]
        await until(lambda: len(database.asked) > 2)
        assert all(sorted(asked) == sorted(names) for asked in database.asked)
        database.refused = {"thread-7": 404, "thread-9": 401}
        await until(lambda: readers[7].refused and readers[9].refused)
        assert sorted(set(woken)) == [7, 9]
        readers[0].check()
        with pytest.raises(AccessLost) as lost:
            readers[7].check()
        assert lost.value.status == 404


async def test_nobody_is_asked_for_who_has_left(database: Database) -> None:
    with current_watch().reading(TENANT, "one", lambda: None):
        with current_watch().reading(TENANT, "two", lambda: None):
            await until(lambda: database.asked)
        await until(lambda: database.asked[-1] == ["one"])
    await until(lambda: all(task.done() for task in current_watch()._tasks.values()))
    with current_watch().reading(TENANT, "three", lambda: None):
        await until(lambda: database.asked[-1] == ["three"])


async def test_they_are_asked_for_again_after_an_outage(database: Database) -> None:
    database.away, database.refused = True, {"one": 403}
    with current_watch().reading(TENANT, "one", lambda: None) as reader:
        await until(lambda: database.unanswered["refusals"] > 2)
        assert reader.refused is None
        database.away = False
        await until(lambda: reader.refused == 403)


async def test_threads_are_looked_for_together_and_not_all_the_time(database: Database) -> None:
    with ExitStack() as stack:
        readers = [
            stack.enter_context(current_watch().reading(TENANT, f"thread-{number}", lambda: None))
            for number in range(100)
        ]
        assert not database.looked
        for reader in readers:
            reader.wait()
        await until(lambda: database.looked)
        loop = asyncio.get_running_loop()
        begun, before = loop.time(), len(database.looked)
        while loop.time() < begun + 0.1:
            readers[0].wait()
            await asyncio.sleep(0)
        assert 1 <= len(database.looked) - before <= 11
        assert len(database.looked[-1]) == 100
        database.there = {"thread-3"}
        readers[50].wait()
        await until(lambda: readers[3].created_at)
        assert not readers[3].waits and readers[4].waits
        readers[4].wait()
        await until(lambda: len(database.looked[-1]) == 99)


async def test_they_are_looked_for_though_nothing_rings(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "POLL_SECONDS", 0.01)
    woken: list[int] = []
    with current_watch().reading(TENANT, "one", lambda: woken.append(1)) as reader:
        reader.wait()
        database.away = True
        await until(lambda: database.unanswered["arrivals"] > 1)
        database.away = False
        database.there = {"one"}
        await until(lambda: woken)
        assert reader.created_at == NOW


async def test_what_was_found_stays_the_thread_that_is_read() -> None:
    with current_watch().reading(TENANT, "one", lambda: None) as reader:
        reader.found(NOW)
        reader.found(NOW)
        with pytest.raises(AccessLost):
            reader.found(datetime(2000, 1, 1, tzinfo=UTC))
