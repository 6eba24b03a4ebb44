"""The doorbell over each Channels layer: what was committed reaches a follower of another process."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer

from runs.log import hub as hub_module
from runs.log.hub import Hub
from runs.records import Chunk, pack, record
from tests.services import redis

THREAD = "a-thread_of-letters"
CHUNK = Chunk(THREAD, "00000000-0000-7000-8000-000000000000", 1, 1, pack([record("custom", {"text": "ä\u2028\n"})]))


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis() as url:
        yield url


@pytest.fixture(params=["memory", "redis"])
async def hubs(request: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Hub, Hub]]:
    """Two hubs, as of two processes, that share a layer."""
    if request.param == "memory":
        layers: list[Any] = [InMemoryChannelLayer()] * 2
    else:
        url = request.getfixturevalue("redis_url")
        layers = [RedisPubSubChannelLayer(hosts=[url]) for _ in range(2)]
    made = []
    for layer in layers:
        monkeypatch.setattr(hub_module, "get_channel_layer", lambda layer=layer: layer)
        made.append(Hub())
    yield made[0], made[1]
    for hub in made:
        await hub.stop()
    for layer in layers:
        with contextlib.suppress(AttributeError):
            await layer.flush()


async def test_a_chunk_reaches_the_follower_of_another_process(hubs: tuple[Hub, Hub]) -> None:
    server, other = hubs
    async with server.subscription(THREAD) as subscription:
        await other.ring([CHUNK])
        async with asyncio.timeout(30):
            await subscription.wait(30)
        assert subscription.take() == [CHUNK]


async def test_only_followers_of_the_thread_hear(hubs: tuple[Hub, Hub]) -> None:
    server, other = hubs
    async with server.subscription(THREAD) as mine, server.subscription("another") as foreign:
        await other.ring([CHUNK])
        async with asyncio.timeout(30):
            await mine.wait(30)
        assert foreign.take() == []
