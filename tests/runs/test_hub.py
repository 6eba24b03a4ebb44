"""The doorbell's ear: what waits for a follower is bounded, and nobody is listened for who is not there."""

import asyncio

import pytest
from channels.layers import get_channel_layer
from django.conf import LazySettings

from runs.log import Hub, current_hub
from runs.log.hub import Subscription
from runs.records import Chunk
from runs.signals import chunks_committed


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
