"""The one tick a second of a cluster: whoever takes it, there is one, and no lost process stops it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import tuple_row

from runs.database import in_database
from runs.host import clock
from runs.host.clock import keep_time
from runs.postgres import connection_parameters

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.many_machines]

LEFT_BEHIND = """
INSERT INTO procrastinate_jobs (queue_name, task_name, lock, queueing_lock, args, status, worker_id)
VALUES ('runs.tick', 'runs.tick', %s, 'runs.tick', '{"timestamp": 1}', 'doing', %s)
"""


def ask(statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    with psycopg.connect(**connection_parameters("tests"), row_factory=tuple_row) as connection:
        cursor = connection.execute(statement, parameters)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []


@pytest.fixture(autouse=True)
def no_jobs_left(transactional_db: None) -> None:
    """Django's flush does not know procrastinate's tables."""
    ask("TRUNCATE procrastinate_jobs, procrastinate_periodic_defers, procrastinate_workers, procrastinate_events")


class Ticks:
    """When each process ticked."""

    def __init__(self) -> None:
        self.made: list[tuple[str, float]] = []

    def of(self, process: str) -> Callable[[], Any]:
        async def tick() -> None:
            self.made.append((process, time.monotonic()))

        return tick

    async def until(self, count: int) -> None:
        async with asyncio.timeout(count + 20):
            while len(self.made) < count:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def keeping(tick: Callable[[], Any]) -> AsyncIterator["asyncio.Task[None]"]:
    keeper = asyncio.create_task(keep_time(tick))
    try:
        yield keeper
    finally:
        keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await asyncio.wait_for(keeper, 20)


async def test_of_many_one_ticks_each_second() -> None:
    ticks = Ticks()
    async with keeping(ticks.of("one")), keeping(ticks.of("two")):
        await ticks.until(1)
        before = len(ticks.made), time.monotonic()
        await ticks.until(6)
        made, passed = len(ticks.made) - before[0], time.monotonic() - before[1]
    # One that came late may be followed sooner by the next.
    assert made - 1.5 < passed < made + 4


async def test_no_second_is_ticked_twice() -> None:
    seconds: list[int] = []
    defers = "SELECT (args->>'timestamp')::bigint FROM procrastinate_jobs WHERE status = 'doing'"

    async def tick() -> None:
        seconds.extend(second for (second,) in await in_database(ask, defers))

    async with keeping(tick), keeping(tick), asyncio.timeout(30):
        while len(seconds) < 4:
            await asyncio.sleep(0.02)
    assert len(seconds) == len(set(seconds)) and seconds == sorted(seconds)


@pytest.mark.parametrize("known", [True, False])
async def test_a_job_that_a_lost_worker_left_does_not_stop_the_clock(
    monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    """It is deleted in time, whether its worker is still in the list or not."""
    monkeypatch.setattr(clock, "_CLEAR_EVERY_SECONDS", 1)
    locks: list[Any] = []

    async def tick() -> None:
        locks.extend(await in_database(ask, "SELECT lock FROM procrastinate_jobs WHERE status = 'doing'"))

    async with keeping(tick), asyncio.timeout(20):
        while not locks:
            await asyncio.sleep(0.02)
    worker = None
    if known:
        last = "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (NOW() - INTERVAL '31 s') RETURNING id"
        ((worker,),) = ask(last)
    ask(LEFT_BEHIND, [*locks[0], worker])
    ticks = Ticks()
    async with keeping(ticks.of("one")):
        await ticks.until(3)
    assert not ask("SELECT id FROM procrastinate_jobs WHERE args->>'timestamp' = '1'")


async def test_a_tick_that_fails_is_followed_by_the_next() -> None:
    ticks = Ticks()

    async def fail() -> None:
        await ticks.of("one")()
        raise ZeroDivisionError

    async with keeping(fail):
        await ticks.until(3)
    left = ask("SELECT status, count(*) FROM procrastinate_jobs WHERE status NOT IN ('todo', 'doing') GROUP BY status")
    assert not left


async def test_another_goes_on_when_one_leaves() -> None:
    ticks = Ticks()
    async with keeping(ticks.of("one")):
        async with keeping(ticks.of("two")):
            await ticks.until(2)
        before = len(ticks.made)
        await ticks.until(before + 2)
    assert {process for process, _ in ticks.made[before:]} == {"one"}


END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'deerflow clock'"


async def test_a_clock_whose_connections_were_ended_goes_on_or_says_so() -> None:
    ticks = Ticks()
    for _ in range(2):
        async with keeping(ticks.of("one")) as keeper:
            before = len(ticks.made)
            await ticks.until(before + 1)
            assert await in_database(ask, END)
            async with asyncio.timeout(20):
                while len(ticks.made) < before + 4 and not keeper.done():
                    await asyncio.sleep(0.02)


async def test_a_clock_without_a_database_ends() -> None:
    """So that its caller can begin again."""
    ticks = Ticks()
    async with keeping(ticks.of("one")) as keeper:
        await ticks.until(1)
        with no_new_connections():
            done, _ = await asyncio.wait({keeper}, timeout=20)
        assert done and not keeper.cancelled()
    before = len(ticks.made)
    async with keeping(ticks.of("one")):
        await ticks.until(before + 2)


@contextlib.contextmanager
def no_new_connections() -> Iterator[None]:
    """The database lets nobody in, and has sent away those who kept the time."""
    parameters = connection_parameters("tests")
    with psycopg.connect(**{**parameters, "dbname": "postgres"}, autocommit=True) as outside:
        name = sql.Identifier(parameters["dbname"])
        outside.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
        try:
            outside.execute(END)
            yield
        finally:
            outside.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))
