"""What a client is sent waits for it, but not for ever."""

import asyncio
import socket as plain_socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from deerflow_site import pace
from deerflow_site.pace import Pace, unsent
from deerflow_site.websocket import WebSocketFactory, WebSocketProtocol
from runs.consumers import inbox


class Connection:
    """One whose client takes what it is told to."""

    def __init__(self) -> None:
        self.unsent = 1000
        self.given_up = 0
        self.pace = Pace(lambda: self.unsent, self.give_up)

    def give_up(self) -> None:
        self.given_up += 1


@pytest.fixture
def connection() -> Connection:
    return Connection()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "STUCK_SECONDS", 0.12)


async def test_a_connection_that_takes_more_is_not_waited_for(connection: Connection) -> None:
    async with asyncio.timeout(1):
        await connection.pace.wait()


async def test_a_paused_one_is_waited_for(connection: Connection) -> None:
    it = connection.pace
    it.pauseProducing()
    waiting = [asyncio.create_task(it.wait()) for _ in range(2)]
    await asyncio.sleep(0)
    assert not it.flows and not any(each.done() for each in waiting)
    it.resumeProducing()
    await asyncio.gather(*waiting)
    assert it.flows


@pytest.mark.parametrize("times", [1, 2])
async def test_pausing_and_resuming_twice_is_as_once(connection: Connection, times: int) -> None:
    it = connection.pace
    for _ in range(times):
        it.pauseProducing()
    for _ in range(times):
        it.stopProducing()
    async with asyncio.timeout(1):
        await it.wait()


@pytest.mark.usefixtures("impatient")
async def test_one_that_does_not_move_is_given_up_though_nobody_waits_for_it(connection: Connection) -> None:
    connection.pace.pauseProducing()
    await asyncio.sleep(0.06)
    assert not connection.given_up
    await asyncio.sleep(0.3)
    assert connection.given_up == 1


@pytest.mark.usefixtures("impatient")
async def test_one_that_takes_a_little_is_not_given_up(connection: Connection) -> None:
    connection.pace.pauseProducing()
    for _ in range(30):
        await asyncio.sleep(0.01)
        connection.unsent -= 1
    assert not connection.given_up and not connection.pace.flows


@pytest.mark.usefixtures("impatient")
async def test_one_that_flows_again_is_not_given_up(connection: Connection) -> None:
    connection.pace.pauseProducing()
    connection.pace.resumeProducing()
    await asyncio.sleep(0.2)
    assert not connection.given_up


class Transport:
    """What a connection of Twisted knows of itself."""

    def __init__(self, connection: plain_socket.socket) -> None:
        self.dataBuffer, self.offset, self._tempDataLen = b"x" * 100, 40, 7
        self.fileno = connection.fileno


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="others do not tell it")
def test_what_the_system_still_keeps_is_unsent() -> None:
    with plain_socket.create_server(("127.0.0.1", 0)) as listening:
        sender = plain_socket.create_connection(listening.getsockname())
        taker, _ = listening.accept()
        with sender, taker:
            assert unsent(Transport(sender)) == 67
            sender.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    sender.send(bytes(65536))
            assert unsent(Transport(sender)) > 67
    assert unsent(Transport(sender)) == 67


class OpenSocket(WebSocketProtocol):
    """One that is open to nobody: it keeps what it would send."""

    def __init__(self) -> None:
        self.state = self.STATE_OPEN
        self.pace = Pace(lambda: 0, self.give_up)
        self._ping: bytes | None = None
        self._half = 0
        self.failedByMe = self.failByDrop = False
        self.websocket_version = 13
        self.frame_data: list[bytes] = []
        self.autoPingPending: bytes | None = None
        self.socket_opened = 0.0
        self.last_ping = 0.0
        self.sent: list[Any] = []
        self.server = self

    websocket_timeout = -1
    ping_interval = 20

    def sendCloseFrame(self, code: int, reasonUtf8: bytes, isReply: bool = False) -> None:
        self.sent.append(code)

    def sendPong(self, payload: bytes | None = None) -> None:
        self.sent.append(payload)

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


async def test_pings_are_answered(socket: OpenSocket) -> None:
    for payload in (b"", b"one", b"two"):
        socket.onPing(payload)
    assert socket.sent == [b"", b"one", b"two"]


async def test_of_the_pings_of_a_client_that_takes_nothing_the_last_is_answered_later(socket: OpenSocket) -> None:
    socket.pace.pauseProducing()
    for number in range(1000):
        socket.onPing(b"%d" % number)
    assert socket.sent == []
    socket.pace.resumeProducing()
    await asyncio.sleep(0.01)
    assert socket.sent == [b"999"]
    socket.onPing(b"")
    assert socket.sent == [b"999", b""]


async def test_halves_of_messages_count_until_the_rest_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "MAX_BYTES_OF_ALL", 10)
    one, other = OpenSocket(), OpenSocket()
    one.onMessageFrameData(b"x" * 8)
    other.onMessageFrameData(b"x" * 2)
    assert one.frame_data == [b"x" * 8] and other.sent == []
    other.onMessageFrameData(b"x")
    # What came of it is not delivered.
    assert other.sent == [4429] and other.failedByMe
    other.onMessageEnd()
    one.onMessageFrameData(b"x" * 2)
    assert one.sent == []
    one._let_go()
    assert inbox._kept == 0


def test_what_breaks_the_rules_is_told_which() -> None:
    factory = WebSocketFactory(None)
    assert factory.failByDrop is False and factory.protocol is WebSocketProtocol
