"""The commands of a socket wait for their turn, and not too many of them."""

import asyncio

from django.conf import LazySettings

from runs.inbox import MAX_BYTES, MAX_WAITING, Inbox


async def test_they_are_given_out_in_their_order() -> None:
    inbox = Inbox()
    for text in ("a", "b", "c"):
        assert inbox.put(text)
    assert [await inbox.take() for _ in range(3)] == ["a", "b", "c"]
    assert not inbox


async def test_no_more_wait_than_may() -> None:
    inbox = Inbox()
    assert all(inbox.put("") for _ in range(MAX_WAITING))
    assert not inbox.put("")
    await inbox.take()
    assert inbox.put("")


async def test_no_larger_ones_wait_than_may() -> None:
    inbox = Inbox()
    assert inbox.put("x" * (MAX_BYTES + 1))
    assert not inbox.put("")
    await inbox.take()
    assert inbox.put("")


async def test_past_the_burst_they_come_at_the_rate(settings: LazySettings) -> None:
    settings.SOCKET_COMMANDS_PER_SECOND, settings.SOCKET_COMMAND_BURST = 20, 3
    inbox = Inbox()
    for _ in range(6):
        inbox.put("x")
    now = asyncio.get_running_loop().time
    start, took = now(), []
    for _ in range(6):
        await inbox.take()
        took.append(now() - start)
    # The burst at once, and one more whose turn it is just then.
    assert took[3] < 0.04
    assert took[4] >= 0.045 and took[5] >= 0.095
