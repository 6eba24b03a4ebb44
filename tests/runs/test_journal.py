"""The pen and its journals: what runs emit is committed in order, together, and before anybody is told so."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import OperationalError, connection, transaction

from accounts.tenancy import Tenant
from runs import lifecycle
from runs.database import in_database
from runs.engine import writer
from runs.engine.writer import Journal, Pen
from runs.lifecycle import Outcome, Write
from runs.models import Run
from runs.records import record, unpack
from runs.signals import chunks_committed
from runs.states import RunStatus
from runs.tally import Tally
from tests.factories import chunks_of, make_run
from tests.fakes import heard, numbered

pytestmark = pytest.mark.django_db(transaction=True)

SUCCESS = Outcome(RunStatus.SUCCESS)


@pytest.fixture
def runs(tenant: Tenant) -> list[Run]:
    return [make_run(tenant, status=RunStatus.RUNNING) for _ in range(5)]


@pytest.fixture
async def pen() -> AsyncIterator[Pen]:
    pen = Pen(asyncio.get_running_loop())
    pen.start()
    yield pen
    await asyncio.to_thread(pen.stop)


def journal(pen: Pen, run: Run, **over: Any) -> Journal:
    return Journal(pen, run.pk, over.get("claim", run.claim), run.thread_id)


@contextmanager
def writing_elsewhere() -> Iterator[None]:
    """Another thread is in a transaction: nobody else can begin one."""
    begun, over = threading.Event(), threading.Event()

    def write() -> None:
        try:
            with transaction.atomic():
                begun.set()
                over.wait(10)
        finally:
            connection.close()

    thread = threading.Thread(target=write)
    thread.start()
    begun.wait(10)
    try:
        yield
    finally:
        over.set()
        thread.join()


async def events(run: Run) -> list[tuple[int, str]]:
    return numbered(await in_database(chunks_of, run.thread_id))


async def test_records_are_committed_in_order_before_a_flush_ends(pen: Pen, run: Run) -> None:
    journaled = journal(pen, run)
    for method in ("values", "updates", "custom"):
        journaled.append(record(method))
    assert await journaled.flush()
    assert await events(run) == [(1, "values"), (2, "updates"), (3, "custom")]


async def test_an_outcome_comes_after_all_records(pen: Pen, run: Run) -> None:
    journaled = journal(pen, run)
    for _ in range(50):
        journaled.append(record("values"))
        if _ % 10 == 0:
            await asyncio.sleep(0)
    assert await journaled.finish(SUCCESS, Tally())
    assert await events(run) == [*((seq, "values") for seq in range(1, 51)), (51, "end")]
    assert (await in_database(Run.objects.get)).status == RunStatus.SUCCESS


async def test_a_chunk_holds_no_more_than_a_reader_is_to_hold(
    pen: Pen, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CHUNK_BYTES", 100)
    journaled = journal(pen, run)
    for number in range(30):
        journaled.append(record("values", f"{number:030}"))
    assert await journaled.finish(SUCCESS, Tally())
    chunks = await in_database(chunks_of, run.thread_id)
    assert len(chunks) >= 30 // 4
    assert all(len(list(unpack(chunk))) <= 5 for chunk in chunks)
    assert [seq for seq, _ in await events(run)] == list(range(1, 32))


async def test_what_gathers_while_a_commit_takes_its_time_is_committed_together(pen: Pen, runs: list[Run]) -> None:
    journals = [journal(pen, run) for run in runs]
    with heard(chunks_committed) as commits:
        with writing_elsewhere():
            for _ in range(10):
                for journaled in journals:
                    journaled.append(record("values"))
                await asyncio.sleep(0)
        assert all(await asyncio.gather(*(journaled.flush() for journaled in journals)))
    # What the pen had taken when it had to wait, and all the rest.
    assert 1 <= len(commits) <= 2
    assert sum(chunk.last_seq - chunk.first_seq + 1 for sending in commits for chunk in sending["chunks"]) == 50


async def test_flushes_are_apart_unless_somebody_waits(pen: Pen, run: Run, settings: LazySettings) -> None:
    settings.FLUSH_SECONDS = 3600
    journaled = journal(pen, run)
    with heard(chunks_committed) as commits:
        journaled.append(record("values"))
        while not commits:
            await asyncio.sleep(0.01)
        for _ in range(10):
            journaled.append(record("values"))
            await asyncio.sleep(0.01)
        assert len(commits) == 1, "an hour has not passed"
        assert await journaled.finish(SUCCESS, Tally())
    assert len(commits) == 2


async def test_nothing_is_written_when_there_is_nothing(pen: Pen, run: Run) -> None:
    with heard(chunks_committed) as commits:
        assert await journal(pen, run).flush()
    assert not commits and await events(run) == []


async def test_a_lost_claim_is_told_and_nothing_is_written(pen: Pen, run: Run, runs: list[Run]) -> None:
    lost, kept = journal(pen, run, claim=run.pk), journal(pen, runs[0])
    told: list[int] = []
    lost.on_lost = lambda: told.append(threading.get_ident())
    with writing_elsewhere():
        lost.append(record("values"))
        kept.append(record("values"))
    assert not await lost.flush() and await kept.flush()
    assert lost.lost and set(told) == {threading.get_ident()}
    assert not await lost.finish(SUCCESS, Tally())
    assert await events(run) == [] and await events(runs[0]) == [(1, "values")]
    await lost.room()


@pytest.mark.parametrize(("limit", "value"), [("ROOM_RECORDS", 5), ("ROOM_BYTES", 50)])
async def test_a_run_waits_while_too_much_of_it_waits_to_be_written(
    run: Run, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(writer, limit, value)
    pen = Pen(asyncio.get_running_loop())
    journaled = journal(pen, run)
    for _ in range(5):
        journaled.append(record("values", "10 bytes"))
        await asyncio.wait_for(journaled.room(), 10)
    journaled.append(record("values", "10 bytes"))
    waiting = asyncio.create_task(journaled.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    pen.start()
    await asyncio.wait_for(waiting, 10)
    await asyncio.to_thread(pen.stop)


async def test_a_database_that_is_away_only_delays(pen: Pen, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = iter([OperationalError("away"), OperationalError("still away")])

    def write(batch: list[Write], **_: Any) -> Any:
        for failure in failures:
            raise failure
        return lifecycle.write(batch)

    monkeypatch.setattr(writer, "write", write)
    monkeypatch.setattr(writer, "_RETRY_SECONDS", 0)
    journaled = journal(pen, run)
    journaled.append(record("values"))
    assert await journaled.finish(SUCCESS, Tally())
    assert await events(run) == [(1, "values"), (2, "end")]


async def test_what_the_database_refuses_harms_its_own_run_only(pen: Pen, run: Run, runs: list[Run]) -> None:
    refused, others = journal(pen, run), [journal(pen, other) for other in runs]
    with writing_elsewhere():
        finishing = [asyncio.create_task(one.finish(SUCCESS, Tally())) for one in others[:2]]
        bad = asyncio.create_task(refused.finish(Outcome(RunStatus.SUCCESS, values=b"no JSON"), Tally()))
        finishing += [asyncio.create_task(one.finish(SUCCESS, Tally())) for one in others[2:]]
        await asyncio.sleep(0)
    assert await asyncio.gather(bad, *finishing) == [False, *[True] * 5]
    assert await events(run) == [] and await events(runs[0]) == [(1, "end")]


async def test_what_can_not_be_written_down_harms_its_own_run_only(pen: Pen, run: Run, runs: list[Run]) -> None:
    odd = journal(pen, run)
    odd.append(record("values", {}, namespace=["a\ud800"]))
    async with asyncio.timeout(10):
        finishing = [one.finish(SUCCESS, Tally()) for one in (odd, *(journal(pen, other) for other in runs))]
        assert await asyncio.gather(*finishing) == [False, *[True] * 5]
    assert await events(run) == [] and await events(runs[0]) == [(1, "end")]


async def test_the_pen_writes_what_was_queued_before_it_ends(run: Run) -> None:
    pen = Pen(asyncio.get_running_loop())
    journaled = journal(pen, run)
    journaled.append(record("values"))
    pen.start()
    await asyncio.to_thread(pen.stop)
    assert await events(run) == [(1, "values")]
