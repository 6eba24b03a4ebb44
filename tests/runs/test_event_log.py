"""Following a log: replay, then live, without a seam, whatever becomes of the doorbell."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from django.conf import LazySettings

from accounts.models import User
from runs import lifecycle
from runs.database import in_database
from runs.log import Hub, StreamCut, ends, follow, follow_run, oldest_seq, read_run
from runs.models import EventChunk, Run, Thread
from runs.records import Chunk, pack, record, unpack
from runs.states import CancelAction, RunStatus
from tests.appending import SUCCESS, emit, end
from tests.factories import chunks_of, make_run, tenant_of
from tests.fakes import LAYERS

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("hub")]

#: So long that a test which waits for it fails.
NEVER = 60.0


@pytest.fixture(autouse=True)
def layer(request: pytest.FixtureRequest, settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """How the doorbell rings. Where it rings every time, nobody looks without having heard it."""
    name = getattr(request, "param", "live")
    settings.CHANNEL_LAYERS = {"default": LAYERS[name]}
    monkeypatch.setattr("runs.log.hub.POLL_SECONDS", NEVER if name == "live" else 0.01)


silent = pytest.mark.parametrize("layer", ["silent"], indirect=True)


def seqs(chunks: list[Chunk], after: int = 0) -> list[int]:
    return [seq for chunk in chunks for seq, _ in unpack(chunk) if seq > after]


async def collected(stream: AsyncIterator[list[Chunk]]) -> list[Chunk]:
    """All chunks of a stream that ends soon."""
    async with asyncio.timeout(5):
        return [chunk async for chunks in stream for chunk in chunks]


async def started(stream: AsyncIterator[list[Chunk]], hub: Hub, thread_id: str) -> "asyncio.Task[list[Chunk]]":
    """A reader of `stream` that has caught up and waits."""
    reader = asyncio.create_task(collected(stream))
    while not any(not one.behind for one in hub._followers.get(thread_id, ())):
        await asyncio.sleep(0)
    return reader


async def test_a_follower_gets_what_was_there_and_what_comes(run: Run, hub: Hub) -> None:
    await emit(run, *range(2))
    reader = await started(follow_run(run.thread_id, run.pk, 0, silence=NEVER), hub, run.thread_id)
    await emit(run, *range(2))
    await emit(run, 0, outcome=SUCCESS)
    chunks = await reader
    assert seqs(chunks) == [1, 2, 3, 4, 5, 6]
    assert ends(chunks[-1]) and not ends(chunks[0])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("layer", LAYERS, indirect=True)
async def test_no_event_is_lost_or_repeated(run: Run, alice: User, settings: LazySettings, seed: int) -> None:
    """Followers that come at any moment, fast and slow ones, while runs of the thread append."""
    settings.FOLLOW_MAX_EVENTS = 8
    chance = random.Random(seed)
    tenant = await in_database(tenant_of, alice)
    thread = await in_database(Thread.objects.get)
    waiting = [await in_database(make_run, tenant, thread) for _ in range(4)]

    async def breathe() -> None:
        for _ in range(chance.randrange(30)):
            await asyncio.sleep(0)

    async def follower(after: int) -> tuple[int, list[int]]:
        found: list[int] = []
        async for chunks in follow_run(run.thread_id, run.pk, after, silence=NEVER):
            found += seqs(chunks, after)
            await breathe()
        return after, found

    followers = []
    for number in range(30):
        if waiting and chance.random() < 0.1:
            await in_database(lifecycle.request_cancel, waiting.pop().pk, run.thread_id, CancelAction.INTERRUPT)
        last = (await in_database(Thread.objects.get)).last_seq
        if number % 5 == 0 or chance.random() < 0.2:
            followers.append(asyncio.create_task(follower(chance.randint(0, last))))
        await emit(run, *range(chance.randint(1, 4)))
        await breathe()
    await end(run)
    own = seqs(await in_database(chunks_of_run, run))
    async with asyncio.timeout(10):
        for after, found in await asyncio.gather(*followers):
            assert found == [seq for seq in own if seq > after]


def chunks_of_run(run: Run) -> list[Chunk]:
    return [chunk for chunk in chunks_of(run.thread_id) if chunk.run_id == str(run.pk)]


async def test_a_thread_is_followed_over_its_runs(run: Run, alice: User, hub: Hub) -> None:
    async def first(count: int) -> list[int]:
        found: list[int] = []
        async with aclosing(follow(run.thread_id, 0, silence=NEVER)) as stream:
            async for chunks in stream:
                found += seqs(chunks)
                if len(found) >= count:
                    return found
        return found

    reader = asyncio.create_task(first(4))
    await emit(run, 0, outcome=SUCCESS)
    tenant, thread = await in_database(tenant_of, alice), await in_database(Thread.objects.get)
    await emit(await in_database(lambda: make_run(tenant, thread, status=RunStatus.RUNNING)), 0, outcome=SUCCESS)
    assert await asyncio.wait_for(reader, 10) == [1, 2, 3, 4]


async def test_a_follower_that_lags_behind_reads_the_rows(run: Run, hub: Hub, settings: LazySettings) -> None:
    settings.FOLLOW_MAX_EVENTS = 3
    async with aclosing(follow_run(run.thread_id, run.pk, 0, silence=NEVER)) as stream:
        await emit(run, 0)
        found = seqs(await anext(stream))
        (subscription,) = hub._followers[run.thread_id]
        for _ in range(10):
            await emit(run, *range(2))
        await end(run)
        while not subscription.behind:
            await asyncio.sleep(0)
        assert not subscription._waiting
        found += seqs(await collected(stream))
    assert found == list(range(1, 23))


@pytest.mark.parametrize("events", [0, 450])
async def test_the_stream_of_a_finished_run_ends_at_once(run: Run, events: int) -> None:
    for _ in range(events):
        await emit(run, 0)
    await end(run)
    everything = list(range(1, events + 2))
    assert seqs(await collected(follow_run(run.thread_id, run.pk, 0, silence=NEVER))) == everything
    assert seqs(await collected(read_run(run.pk, 0))) == everything
    assert seqs(await collected(read_run(run.pk, events + 1))) == []


async def test_a_page_weighs_no_more_than_its_reader_is_to_hold(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runs.log.read.PAGE_BYTES", 100)
    for _ in range(20):
        await emit(run, 0)
    await end(run)
    async with asyncio.timeout(5):
        pages = [page async for page in read_run(run.pk, 0)]
    assert seqs([chunk for page in pages for chunk in page]) == list(range(1, 22))
    assert all(sum(len(chunk.payload) for chunk in page[:-1]) < 100 for page in pages)
    assert max(map(len, pages)) > 1


async def test_a_cursor_within_a_chunk_gets_the_whole_chunk(run: Run) -> None:
    await emit(run, *range(3))
    await emit(run, 0, outcome=SUCCESS)
    chunks = await collected(follow_run(run.thread_id, run.pk, 2, silence=NEVER))
    assert [(chunk.first_seq, chunk.last_seq) for chunk in chunks] == [(1, 3), (4, 5)]


async def test_a_run_that_is_over_ends_its_followers_when_its_events_are_forgotten(run: Run, hub: Hub) -> None:
    await end(run)
    await in_database(EventChunk.objects.all().delete)
    assert await in_database(oldest_seq, run.pk) is None
    assert await collected(follow_run(run.thread_id, run.pk, 0, silence=0.01)) == []


@pytest.mark.parametrize("whole_thread", [True, False])
async def test_the_followers_of_a_deleted_run_get_its_end(run: Run, hub: Hub, whole_thread: bool) -> None:
    reader = await started(follow_run(run.thread_id, run.pk, 0, silence=NEVER), hub, run.thread_id)
    await delete(run, whole_thread)
    assert [one.method for chunk in await reader for _, one in unpack(chunk)] == ["cancel", "end"]


@silent
@pytest.mark.parametrize("whole_thread", [True, False])
async def test_the_followers_of_a_deleted_run_end_though_nobody_told_them(
    run: Run, hub: Hub, whole_thread: bool
) -> None:
    reader = await started(follow_run(run.thread_id, run.pk, 0, silence=0.3), hub, run.thread_id)
    await delete(run, whole_thread)
    assert await reader == []


async def delete(run: Run, whole_thread: bool) -> None:
    if whole_thread:
        await in_database(lifecycle.delete_thread, run.thread_id)
    else:
        await in_database(lifecycle.delete_run, run.pk, run.thread_id)


@silent
async def test_a_follower_that_nobody_calls_finds_the_events_by_itself(run: Run, hub: Hub) -> None:
    reader = await started(follow_run(run.thread_id, run.pk, 0, silence=NEVER), hub, run.thread_id)
    await emit(run, *range(2), outcome=SUCCESS)
    assert seqs(await reader) == [1, 2, 3]


async def test_silence_is_reported(run: Run) -> None:
    async with asyncio.timeout(10), aclosing(follow_run(run.thread_id, run.pk, 0, silence=0.01)) as stream:
        assert [await anext(stream) for _ in range(3)] == [[], [], []]


async def test_the_silence_of_a_waiting_run_is_reported_while_another_one_talks(run: Run, alice: User) -> None:
    tenant, thread = await in_database(tenant_of, alice), await in_database(Thread.objects.get)
    waiting = await in_database(make_run, tenant, thread)

    async def talk() -> None:
        while True:
            await emit(run, 0)

    talking = asyncio.create_task(talk())
    async with asyncio.timeout(10), aclosing(follow_run(run.thread_id, waiting.pk, 0, silence=0.1)) as stream:
        assert await anext(stream) == []
        assert await anext(stream) == []
    talking.cancel()
    await asyncio.gather(talking, return_exceptions=True)


async def test_a_cut_ends_streams_without_an_end(run: Run, hub: Hub) -> None:
    await emit(run, 0)
    reader = await started(follow_run(run.thread_id, run.pk, 0, silence=NEVER), hub, run.thread_id)
    hub.cut()
    with pytest.raises(StreamCut):
        await reader
    with pytest.raises(StreamCut):
        await collected(follow_run(run.thread_id, run.pk, 0, silence=NEVER))
    assert not hub._followers


@pytest.mark.parametrize(
    ("methods", "last"), [(["end"], True), (["values", "end"], True), (["values"], False), (["end", "values"], False)]
)
def test_a_chunk_knows_whether_it_is_the_last(methods: list[str], last: bool) -> None:
    payload: Any = pack([record(method, "end 1 []") for method in methods])
    assert ends(Chunk("thread", "run", 1, len(methods), payload)) is last
