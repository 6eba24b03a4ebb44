"""What a client is sent waits for it, but not for ever."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from deerflow_site import pace
from deerflow_site.pace import Pace
from deerflow_site.websocket import WebSocketFactory, WebSocketProtocol


async def test_a_connection_that_takes_more_is_not_waited_for() -> None:
    assert await Pace().wait()


async def test_a_paused_one_is_waited_for() -> None:
    it = Pace()
    it.pauseProducing()
    waiting = [asyncio.create_task(it.wait()) for _ in range(2)]
    await asyncio.sleep(0)
    assert not it.flows and not any(each.done() for each in waiting)
    it.resumeProducing()
    assert await asyncio.gather(*waiting) == [True, True]
    assert it.flows


@pytest.mark.parametrize("times", [1, 2])
async def test_pausing_and_resuming_twice_is_as_once(times: int) -> None:
    it = Pace()
    for _ in range(times):
        it.pauseProducing()
    for _ in range(times):
        it.stopProducing()
    assert await it.wait()


async def test_one_that_does_not_move_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "STUCK_SECONDS", 0.01)
    it = Pace()
    it.pauseProducing()
    assert not await it.wait()


class OpenSocket(WebSocketProtocol):
    """One that is open to nobody: it keeps what it would send."""

    def __init__(self) -> None:
        self.state = self.STATE_OPEN
        self.pace = Pace()
        self.autoPingPending: bytes | None = None
        self.socket_opened = 0.0
        self.last_ping = 0.0
        self.sent: list[Any] = []
        self.server = self

    websocket_timeout = -1
    ping_interval = 20

    def sendCloseFrame(self, code: int, reasonUtf8: bytes) -> None:
        self.sent.append(code)

    def _sendAutoPing(self) -> None:
        self.sent.append("ping")


@pytest.fixture
def socket() -> Iterator[OpenSocket]:
    yield OpenSocket()


async def test_a_silent_client_is_pinged(socket: OpenSocket) -> None:
    socket.check_timeouts()
    assert socket.sent == ["ping"]


async def test_a_ping_that_is_not_answered_yet_is_not_repeated(socket: OpenSocket) -> None:
    socket.autoPingPending = b"ping"
    socket.check_timeouts()
    assert socket.sent == []


async def test_a_client_that_answers_no_ping_is_parted_with(socket: OpenSocket) -> None:
    socket.onAutoPingTimeout()
    assert socket.sent == [4408]


async def test_a_slow_one_is_not_taken_for_a_dead_one(socket: OpenSocket) -> None:
    socket.pace.pauseProducing()
    socket.autoPingPending = b"ping"
    socket.onAutoPingTimeout()
    socket.check_timeouts()
    assert socket.sent == []
    # Once it takes more, it is pinged again.
    socket.pace.resumeProducing()
    socket.last_ping = 0.0
    socket.check_timeouts()
    assert socket.sent == ["ping"]


def test_what_breaks_the_rules_is_told_which() -> None:
    factory = WebSocketFactory(None)
    assert factory.failByDrop is False and factory.protocol is WebSocketProtocol
