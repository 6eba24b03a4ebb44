"""Checkpoints of a database that is away for a while: writers and readers wait, and nothing is lost or repeated."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from runs.engine.storage import FencedSaver, StaleAttempt, Writer, open_saver
from runs.engine.storage.database import Session
from runs.postgres import connection_parameters
from tests.contracts.benches import Bench, attempt_of
from tests.contracts.written import FIRST, SECOND, config, put, steps
from tests.fakes import FaultyDatabase

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def faults(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> FaultyDatabase:
    """The database, which fails as often as it is told and is asked again soon."""
    for module in ("pen", "readers"):
        monkeypatch.setattr(f"runs.engine.storage.{module}._RETRY_SECONDS", 0.01)
    return FaultyDatabase(bench.database)


@asynccontextmanager
async def opened(database: FaultyDatabase) -> AsyncIterator[FencedSaver]:
    """As `open_saver`, whose closing must not keep the test's loop from going on."""
    saver = FencedSaver(database)
    try:
        yield saver
    finally:
        async with asyncio.timeout(20):
            await asyncio.to_thread(saver.close)


@pytest.mark.parametrize("point", ["connect", "write", "commit", "answer"])
async def test_what_the_database_does_not_take_is_written_when_it_does_and_once(
    bench: Bench, faults: FaultyDatabase, point: str
) -> None:
    writers = [FIRST, *(attempt_of(1, 1, f"thread-{number}") for number in range(7))]
    async with opened(faults) as saver, asyncio.timeout(30):
        for writer in writers:
            await bench.begin(saver, writer)
        if point == "connect":
            # Only who has no connection makes one.
            faults.failures["commit"] = 1
        faults.failures[point] = 3
        with bench.held_up():
            # The first is held up, and the others gather behind it.
            writing = [asyncio.create_task(put(saver, writer, 0, topic=writer.thread_id)) for writer in writers]
            writing += [
                asyncio.create_task(saver.aput_writes(config(writer, checkpoint_id="c"), [("a", 1), ("b", 2)], "task"))
                for writer in writers
            ]
            await asyncio.sleep(0)
        await asyncio.gather(*writing)
        assert not +faults.failures
        assert bench.rows() == {"checkpoints": 8, "writes": 16}
        for writer in writers:
            latest = await saver.aget_tuple({"configurable": {"thread_id": writer.thread_id}})
            assert latest is not None and latest.checkpoint["channel_values"] == {"topic": writer.thread_id}


async def test_an_outage_while_a_bad_value_is_looked_for_harms_nobody_else(
    bench: Bench, faults: FaultyDatabase
) -> None:
    other, gate = attempt_of(1, 1, "other"), threading.Event()

    def hold_up(_: Session) -> None:
        gate.wait(20)
        raise ZeroDivisionError

    async with opened(faults) as saver, asyncio.timeout(30):
        for writer in (FIRST, other):
            await bench.begin(saver, writer)
        held_up = asyncio.wrap_future(saver.pen.submit(hold_up))
        together = [asyncio.create_task(put(saver, FIRST, value=print)), asyncio.create_task(put(saver, other))]
        await asyncio.sleep(0)
        faults.failures["commit"] = 1
        gate.set()
        _, bad, good = await asyncio.gather(held_up, *together, return_exceptions=True)
        assert isinstance(bad, TypeError) and isinstance(good, dict)
        assert not +faults.failures and bench.rows()["checkpoints"] == 1


@pytest.mark.parametrize("point", ["connect", "read"])
async def test_what_can_not_be_read_is_read_when_it_can(bench: Bench, faults: FaultyDatabase, point: str) -> None:
    async with opened(faults) as saver, asyncio.timeout(30):
        await bench.begin(saver, FIRST)
        await put(saver, FIRST, 7)
        faults.failures[point] = 3
        results = await asyncio.gather(*(steps(saver) for _ in range(6)))
        assert results == [[7]] * 6 and not +faults.failures


async def test_a_fence_is_raised_when_the_database_is_back(bench: Bench, faults: FaultyDatabase) -> None:
    async with opened(faults) as saver, asyncio.timeout(30):
        await bench.begin(saver, FIRST)
        await put(saver, FIRST)
        faults.failures.update({"commit": 2, "connect": 2})
        await bench.begin(saver, SECOND)
        faults.failures.update({"answer": 1, "connect": 1})
        with pytest.raises(StaleAttempt):
            await put(saver, FIRST, 1)
        await put(saver, SECOND, 2)
        assert await steps(saver) == [2, 0]


async def test_an_outage_lets_nobody_write_who_was_replaced_meanwhile(bench: Bench, faults: FaultyDatabase) -> None:
    async with opened(faults) as saver, asyncio.timeout(30):
        await bench.begin(saver, FIRST)
        await put(saver, FIRST)
        with bench.another_claims(SECOND):
            faults.failures["connect"] = 1
            late = asyncio.create_task(put(saver, FIRST, 1))
            await asyncio.sleep(0)
        assert isinstance((await asyncio.gather(late, return_exceptions=True))[0], StaleAttempt)
        assert bench.rows()["checkpoints"] == 1


FOR_EVER = 10**9


@pytest.mark.parametrize("point", ["connect", "commit"])
async def test_who_closes_during_an_outage_is_not_held_up(bench: Bench, faults: FaultyDatabase, point: str) -> None:
    async with opened(faults) as saver:
        await bench.begin(saver, FIRST)
        faults.failures.update({"commit": FOR_EVER, point: FOR_EVER})
        writing = [asyncio.create_task(put(saver, FIRST, step)) for step in range(3)]
        reading = asyncio.create_task(steps(saver)) if point == "connect" else None
        async with asyncio.timeout(20):
            while faults.failures["commit"] + faults.failures["connect"] in (FOR_EVER, 2 * FOR_EVER):
                await asyncio.sleep(0.001)
    results = await asyncio.gather(*writing, return_exceptions=True)
    assert [type(result) for result in results] == [faults.outage] * 3
    if reading:
        assert isinstance((await asyncio.gather(reading, return_exceptions=True))[0], faults.outage)
    assert bench.rows()["checkpoints"] == 0


@pytest.mark.many_machines
async def test_connections_that_are_ended_lose_and_repeat_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module in ("pen", "readers"):
        monkeypatch.setattr(f"runs.engine.storage.{module}._RETRY_SECONDS", 0.01)
    caplog.set_level(logging.WARNING, "runs.engine.storage")
    writers = [attempt_of(1, 1, f"thread-{number}") for number in range(10)]

    async def write_all(writer: Writer) -> None:
        for step in range(20):
            await put(saver, writer, step, topic=str(step))
            await saver.aput_writes(config(writer, checkpoint_id=str(step)), [("a", step)], "task")
            assert (await steps(saver, writer.thread_id))[0] == step

    async with open_saver(bench.database) as saver, asyncio.timeout(60):
        for writer in writers:
            await bench.begin(saver, writer)
        writing = asyncio.gather(*(write_all(writer) for writer in writers))
        while not writing.done():
            await asyncio.to_thread(end_connections)
            await asyncio.sleep(0.05)
        await writing
        for writer in writers:
            assert await steps(saver, writer.thread_id) == [*reversed(range(20))]
    assert bench.rows() == {"checkpoints": 200, "writes": 200}
    assert "could not be written" in caplog.text and "could not be read" in caplog.text


def end_connections() -> None:
    with psycopg.connect(**connection_parameters("tests"), autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'deerflow checkpoints'"
        )
