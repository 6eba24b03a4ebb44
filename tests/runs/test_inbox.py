"""The commands of a socket wait for their turn, and not too many of them."""

import asyncio
from collections.abc import Callable, Iterator

import pytest
from django.conf import LazySettings

from runs.consumers import inbox as module
from runs.consumers.inbox import MAX_BYTES, MAX_BYTES_OF_ALL, MAX_WAITING, Inbox

#: The largest command.
LARGE = 4 * 1024 * 1024

MakeInbox = Callable[[], Inbox]


@pytest.fixture
def make_inbox() -> Iterator[MakeInbox]:
    made: list[Inbox] = []

    def make() -> Inbox:
        made.append(Inbox())
        return made[-1]

    yield make
    for inbox in made:
        inbox.close()
    assert module._kept == 0


async def take(inbox: Inbox) -> bytes:
    async with inbox.next() as text:
        return text


async def test_they_are_given_out_in_their_order(make_inbox: MakeInbox) -> None:
    inbox = make_inbox()
    for text in (b"a", b"b", b"c"):
        assert inbox.put(text)
    assert [await take(inbox) for _ in range(3)] == [b"a", b"b", b"c"]
    assert not inbox


async def test_no_more_wait_than_may(make_inbox: MakeInbox) -> None:
    inbox = make_inbox()
    assert all(inbox.put(b"") for _ in range(MAX_WAITING))
    assert not inbox.put(b"")
    await take(inbox)
    assert inbox.put(b"")


async def test_beside_the_largest_no_larger_ones_wait_than_may(make_inbox: MakeInbox) -> None:
    inbox = make_inbox()
    assert inbox.put(bytes(LARGE)) and inbox.put(bytes(MAX_BYTES))
    assert not inbox.put(b"x") and not inbox.put(bytes(LARGE))
    await take(inbox)
    assert inbox.put(bytes(LARGE))
    assert not inbox.put(b"x")


async def test_beside_small_ones_a_large_one_may_wait(make_inbox: MakeInbox) -> None:
    inbox = make_inbox()
    assert inbox.put(bytes(MAX_BYTES // 2)) and inbox.put(bytes(LARGE)) and inbox.put(bytes(MAX_BYTES // 2))
    assert not inbox.put(b"x")


async def test_all_of_a_process_may_hold_so_much(make_inbox: MakeInbox) -> None:
    inboxes = [make_inbox() for _ in range(MAX_BYTES_OF_ALL // LARGE)]
    assert all(inbox.put(bytes(LARGE)) for inbox in inboxes)
    other = make_inbox()
    assert not other.put(b"x")
    async with inboxes[0].next():
        # What is performed is held too.
        assert not other.put(b"x")
    assert other.put(b"x")
    inboxes[1].close()
    assert not inboxes[1] and other.put(bytes(LARGE))


async def test_past_the_burst_they_come_at_the_rate(settings: LazySettings, make_inbox: MakeInbox) -> None:
    settings.SOCKET_COMMANDS_PER_SECOND, settings.SOCKET_COMMAND_BURST = 20, 3
    inbox = make_inbox()
    for _ in range(6):
        inbox.put(b"x")
    now = asyncio.get_running_loop().time
    start, took = now(), []
    for _ in range(6):
        await take(inbox)
        took.append(now() - start)
    # The burst at once, and one more whose turn it is just then.
    assert took[3] < 0.04
    assert took[4] >= 0.045 and took[5] >= 0.095
