"""The doorbell's ear: what waits for a follower is bounded, and nobody is listened for who is not there."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing

import pytest
from channels.layers import InMemoryChannelLayer, channel_layers, get_channel_layer
from django.conf import LazySettings

from runs.log import Hub, current_hub, follow_run
from runs.log.hub import Subscription
from runs.models import Run
from runs.records import Chunk, unpack
from runs.signals import chunks_committed
from tests.appending import SUCCESS, emit
from tests.fakes import FaultyLayer


def chunk(first_seq: int, *, events: int = 1, size: int = 10, thread_id: str = "thread") -> Chunk:
    return Chunk(thread_id, "run", first_seq, first_seq + events - 1, b"x" * size)


async def test_chunks_are_taken_in_order_and_once() -> None:
    subscription = Subscription("thread")
    for seq in (1, 2):
        subscription.offer(chunk(seq))
    assert await subscription.wait(0)
    assert subscription.take() == [chunk(1), chunk(2)]
    assert not await subscription.wait(0)
    assert subscription.take() == []


async def test_a_waiting_follower_is_woken() -> None:
    subscription = Subscription("thread")
    waiting = asyncio.create_task(subscription.wait(60))
    await asyncio.sleep(0)
    subscription.offer(chunk(1))
    assert await waiting


@pytest.mark.parametrize("many", [{"events": 2}, {"size": 400}])
async def test_past_its_bound_a_follower_falls_behind(settings: LazySettings, many: dict[str, int]) -> None:
    settings.FOLLOW_MAX_EVENTS, settings.FOLLOW_MAX_BYTES = 4, 1000
    subscription = Subscription("thread")
    for seq in (1, 3):
        subscription.offer(chunk(seq, **many))
    assert not subscription.behind
    subscription.offer(chunk(5, **many))
    assert subscription.behind
    assert await subscription.wait(0)
    subscription.offer(chunk(7))
    assert subscription.take() == []


async def test_what_was_taken_makes_room(settings: LazySettings) -> None:
    settings.FOLLOW_MAX_EVENTS = 2
    subscription = Subscription("thread")
    for seq in (1, 3, 5):
        subscription.offer(chunk(seq, events=2))
        subscription.take()
    assert not subscription.behind


@pytest.mark.parametrize("large", [{"events": 50}, {"size": 5000}])
async def test_a_single_chunk_is_taken_however_large(settings: LazySettings, large: dict[str, int]) -> None:
    settings.FOLLOW_MAX_EVENTS, settings.FOLLOW_MAX_BYTES = 4, 1000
    subscription = Subscription("thread")
    subscription.offer(chunk(1, **large))
    assert not subscription.behind
    assert subscription.take() == [chunk(1, **large)]


async def test_there_is_one_hub_for_each_event_loop(hub: Hub) -> None:
    assert current_hub() is hub
    assert await asyncio.to_thread(asyncio.run, other_hub()) is not hub


async def other_hub() -> Hub:
    return current_hub()


async def test_every_follower_of_a_thread_gets_what_is_committed(hub: Hub) -> None:
    async with hub.subscription("thread") as one, hub.subscription("thread") as two, hub.subscription("other") as third:
        await asyncio.to_thread(chunks_committed.send, sender=None, chunks=[chunk(1), chunk(2)])
        for subscription in (one, two):
            taken: list[Chunk] = []
            while len(taken) < 2 and await subscription.wait(5):
                taken += subscription.take()
            assert taken == [chunk(1), chunk(2)]
        assert third.take() == []


async def test_a_thread_is_listened_to_while_it_has_followers(hub: Hub) -> None:
    groups = get_channel_layer().groups
    async with hub.subscription("thread"):
        async with hub.subscription("thread"):
            assert list(groups) == ["thread.thread"]
        assert list(groups) == ["thread.thread"]
    assert not groups and not hub._followers


async def test_a_follower_that_is_cancelled_leaves(hub: Hub) -> None:
    async def follow() -> None:
        async with hub.subscription("thread") as subscription:
            await subscription.wait(60)

    follower = asyncio.create_task(follow())
    while not get_channel_layer().groups:
        await asyncio.sleep(0)
    follower.cancel()
    await asyncio.gather(follower, return_exceptions=True)
    assert not get_channel_layer().groups and not hub._followers


async def test_a_hub_whose_loop_is_over_does_not_disturb_those_who_commit() -> None:
    async def listen() -> None:
        async with current_hub().subscription("thread"):
            pass

    await asyncio.to_thread(asyncio.run, listen())
    assert all(not isinstance(answer, Exception) for _, answer in chunks_committed.send_robust(None, chunks=[chunk(1)]))


# A layer that is out of order.

QUESTIONS = ("new_channel", "group_add", "group_send", "receive")
#: So long that a test which waits for it fails.
NEVER = 60.0
with_rows = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def faulty(settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> FaultyLayer:
    """The layer of `hub`, which is asked again at once after a failure, and whose followers look all the time."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.fakes.FaultyLayer"}}
    for name in ("POLL_SECONDS", "_LAYER_SECONDS", "_REST_SECONDS"):
        monkeypatch.setattr(f"runs.log.hub.{name}", 0.01)
    channel_layers.backends.clear()
    layer = get_channel_layer()
    assert isinstance(layer, FaultyLayer)
    return layer


@pytest.fixture
async def hub_of(faulty: FaultyLayer) -> AsyncIterator[Hub]:
    """The hub of the test's event loop, on the faulty layer."""
    hub = current_hub()
    assert hub._layer is faulty
    yield hub
    await hub.stop()


async def until(condition: Callable[[], object], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.001)


@with_rows
@pytest.mark.parametrize("hangs", [False, True])
@pytest.mark.parametrize("faulty_ones", [QUESTIONS, *([question] for question in QUESTIONS)], ids=" ".join)
async def test_every_chunk_reaches_a_follower_without_the_layer(
    run: Run, faulty: FaultyLayer, hub_of: Hub, faulty_ones: list[str], hangs: bool
) -> None:
    faulty.faulty, faulty.hangs = set(faulty_ones), hangs
    found: list[int] = []
    async with asyncio.timeout(10), aclosing(follow_run(run.thread_id, run.pk, 0, silence=NEVER)) as stream:
        for number in range(1, 6):
            await emit(run, number, outcome=SUCCESS if number == 5 else None)
            while not found or found[-1] < number:
                found += [seq for chunk in await anext(stream) for seq, _ in unpack(chunk)]
    assert found == [1, 2, 3, 4, 5, 6]


@with_rows
@pytest.mark.parametrize("hangs", [False, True])
async def test_a_layer_that_came_back_is_joined_and_heard_again(
    run: Run, faulty: FaultyLayer, hub_of: Hub, hangs: bool
) -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(hub_of.subscription(run.thread_id))
        await hears(hub_of, first)
        faulty.faulty, faulty.hangs = set(QUESTIONS), hangs
        await hub_of.ring([chunk(2, thread_id=run.thread_id)])
        second = await stack.enter_async_context(hub_of.subscription("other"))
        assert "other" not in hub_of._joined
        if not hangs:
            # The next question for messages is refused.
            await InMemoryChannelLayer.send(faulty, hub_of._channel, {"type": "log.chunk", "chunk": list(chunk(3))})
            await until(lambda: not hub_of._channel)
        faulty.faulty = set()
        await until(lambda: {run.thread_id, "other"} <= hub_of._joined)
        await hears(hub_of, first)
        await hears(hub_of, second)


async def hears(hub: Hub, subscription: Subscription) -> None:
    """Wait until the layer brings something: what the poll finds is never offered."""
    subscription.take()
    async with asyncio.timeout(10):
        while not subscription.take():
            subscription.behind = False
            await hub.ring([chunk(1, thread_id=subscription.thread_id)])
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("hangs", [False, True])
async def test_ringing_returns_and_a_layer_that_rests_is_not_asked(
    faulty: FaultyLayer, hub_of: Hub, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    monkeypatch.setattr("runs.log.hub._REST_SECONDS", NEVER)
    faulty.faulty, faulty.hangs = {"group_send"}, hangs
    async with asyncio.timeout(10):
        for _ in range(20):
            await hub_of.ring([chunk(1), chunk(2)])
    assert faulty.asked == {"group_send": 1}
    hub_of._layer_rests_until = 0.0
    faulty.faulty = set()
    await hub_of.ring([chunk(3)])
    assert faulty.asked == {"group_send": 2}


async def test_commits_are_announced_without_the_layer_too(faulty: FaultyLayer, hub_of: Hub) -> None:
    """A task that failed unheard would be an error of the loop."""
    faulty.faulty = {"group_send"}
    async with hub_of.subscription("thread"):
        chunks_committed.send(sender=None, chunks=[chunk(1)])
        await until(lambda: faulty.asked["group_send"])


class Slow(FaultyLayer):
    """Does what it is asked at once, and answers when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = asyncio.Event()
        self.added = asyncio.Event()

    async def group_add(self, group: str, channel: str) -> None:
        await super().group_add(group, channel)
        self.added.set()
        await self.may_answer.wait()


@with_rows
async def test_a_follower_that_left_while_the_layer_was_asked_leaves_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one who asks is the poll: the layer was away when the follower came."""
    layer = Slow()
    monkeypatch.setattr("runs.log.hub.get_channel_layer", lambda: layer)
    for name in ("POLL_SECONDS", "_REST_SECONDS"):
        monkeypatch.setattr(f"runs.log.hub.{name}", 0.01)
    hub = Hub()
    layer.faulty = {"group_add"}
    async with hub.subscription("thread"):
        layer.faulty = set()
        await asyncio.wait_for(layer.added.wait(), 10)
    layer.may_answer.set()
    await until(lambda: not layer.groups)
    assert not hub._joined
    await hub.stop()


@pytest.mark.parametrize("why", ["cancelled", "late"])
async def test_a_follower_whose_own_joining_was_broken_off_leaves_no_group(
    monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    layer = Slow()
    monkeypatch.setattr("runs.log.hub.get_channel_layer", lambda: layer)
    monkeypatch.setattr("runs.log.hub._LAYER_SECONDS", NEVER if why == "cancelled" else 0.01)
    monkeypatch.setattr("runs.log.hub._REST_SECONDS", 0.0)
    hub = Hub()

    async def follow() -> None:
        async with hub.subscription("thread"):
            pass

    follower = asyncio.create_task(follow())
    await asyncio.wait_for(layer.added.wait(), 10)
    if why == "cancelled":
        follower.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.wait_for(follower, 10)
    assert not layer.groups and not hub._followers and not hub._joined
    await hub.stop()


async def test_a_follower_that_leaves_while_the_layer_is_away_leaves_no_group(faulty: FaultyLayer, hub_of: Hub) -> None:
    async with hub_of.subscription("thread"):
        faulty.faulty = {"group_discard"}
    faulty.faulty = set()
    await until(lambda: not faulty.groups, seconds=1)


@with_rows
@pytest.mark.parametrize("hangs", [False, True])
async def test_an_outage_is_reported_once(
    run: Run, faulty: FaultyLayer, hub_of: Hub, caplog: pytest.LogCaptureFixture, hangs: bool
) -> None:
    def warnings() -> int:
        return sum("out of order" in entry.message for entry in caplog.records)

    async with hub_of.subscription(run.thread_id):
        for outage in (1, 2):
            faulty.faulty, faulty.hangs = {"group_send", "group_add", "new_channel"}, hangs
            before = faulty.asked["group_send"]
            while faulty.asked["group_send"] < before + 5:
                await hub_of.ring([chunk(1)])
                await asyncio.sleep(0.005)
            assert warnings() == outage
            faulty.faulty = set()
            before = faulty.asked["group_send"]
            while faulty.asked["group_send"] == before:
                await hub_of.ring([chunk(1)])
                await asyncio.sleep(0.005)
