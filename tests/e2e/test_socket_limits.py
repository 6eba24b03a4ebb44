"""Who may open a WebSocket of a real server, for how long, and what it can make the server bear."""

import asyncio
import json
import signal
import socket as plain_socket
from contextlib import suppress
from uuid import uuid4

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from tests.e2e.server import Server
from tests.e2e.servers import MakeServer
from tests.e2e.sockets import Socket, address, open_socket, refusal
from tests.e2e.waiting import until

OTHER_SITE = "https://evil.example.org"


async def ticket(server: Server, key: str) -> str:
    async with httpx.AsyncClient(base_url=server.url, headers={"x-api-key": key}) as client:
        return str((await client.post("/api/v1/auth/ws-ticket")).json()["ticket"])


async def test_a_message_that_is_too_large_ends_the_socket(server: Server, key: str) -> None:
    async with open_socket(server, key) as socket:
        with pytest.raises(ConnectionClosed) as caught:
            await socket.connection.send("x" * (5 * 1024 * 1024))
            await socket.connection.recv()
    assert caught.value.rcvd is not None and caught.value.rcvd.code == 1009


async def test_who_has_no_credential_is_told_so(server: Server, key: str) -> None:
    assert await refusal(server) == 401
    assert await refusal(server, key="dfk_none") == 401
    assert await refusal(server, headers={"Authorization": "Bearer x"}) == 401
    assert await refusal(server, origin=server.url) == 4401
    assert await refusal(server, key="dfk_none", origin=OTHER_SITE) == 4401
    assert await refusal(server, key=key, thread_id="no.thread") == 404


@pytest.mark.parametrize("name", ["x-api-key", "api_key", "apiKey", "access_token", "token", "Authorization"])
async def test_a_key_in_an_address_opens_nothing(server: Server, key: str, name: str) -> None:
    assert await refusal(server, query=f"?{name}={key}") == 401


async def test_a_ticket_opens_one_socket_whoever_asks(server: Server, key: str) -> None:
    query = f"?ticket={await ticket(server, key)}"

    async def comes_in() -> bool:
        try:
            async with open_socket(server, query=query, origin=OTHER_SITE) as socket:
                return (await socket.command("nothing.known"))["error"] == "unknown_command"
        except ConnectionClosed as exc:
            assert exc.rcvd is not None and exc.rcvd.code == 4401
            return False

    assert sum(await asyncio.gather(*(comes_in() for _ in range(20)))) == 1


async def test_a_cookie_is_for_pages_of_this_site(server: Server, key: str) -> None:
    cookie = {"Cookie": "access_token=nothing"}
    assert await refusal(server, headers=cookie, origin=OTHER_SITE) == 4403
    assert await refusal(server, headers=cookie, origin="null") == 4403
    assert await refusal(server, headers=cookie) == 403
    # Of this site it is looked at, and is none.
    assert await refusal(server, headers=cookie, origin=server.url) == 4401


async def test_an_address_that_is_not_there_is_not_found(server: Server, key: str) -> None:
    base = address(server)
    for path in (base + "/", base + "/x", base.replace("/events", ""), base.replace("threads", "thread"), base + "%0A"):
        assert await _status_at(path, key) == 404


async def _status_at(target: str, key: str) -> int:
    async with httpx.AsyncClient() as client:
        headers = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13", "x-api-key": key}
        answer = await client.get(
            target.replace("ws:", "http:"), headers=headers | {"sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA=="}
        )
        return answer.status_code


async def test_a_revoked_key_ends_its_sockets_and_those_of_its_tickets(server: Server, key: str) -> None:
    lost = server.key("alice@acme.test", "acme")
    query = f"?ticket={await ticket(server, lost)}"
    revoke = f"from accounts.models import ApiKey; ApiKey.objects.filter(prefix='{lost[:12]}').revoke()"
    async with (
        open_socket(server, lost) as by_key,
        open_socket(server, query=query) as by_ticket,
        open_socket(server, key) as kept,
    ):
        # Beside the loop, on which the pings of the server are answered.
        await asyncio.to_thread(server.run_command, "shell", "-c", revoke)
        async with asyncio.timeout(10):
            assert await by_key.closed() == 4401
            assert await by_ticket.closed() == 4401
        assert (await kept.command("nothing.known"))["error"] == "unknown_command"


async def test_a_server_that_leaves_sends_its_sockets_away_at_once(make_server: MakeServer) -> None:
    server = make_server().start()
    key = server.key("alice@acme.test", "acme")
    async with open_socket(server, key) as silent, open_socket(server, key) as subscribed:
        await subscribed.subscribe()
        server.signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await silent.closed() == await subscribed.closed() == 1012
        assert server.await_exit() == 0


async def test_a_client_that_takes_nothing_holds_up_nobody(make_server: MakeServer) -> None:
    server = make_server().start()
    key = server.key("alice@acme.test", "acme")
    thread_id = str(uuid4())
    async with open_socket(server, key, thread_id) as quick:
        stuck = _raw(server, key, thread_id)
        subscribe = {"id": 1, "method": "subscription.subscribe", "params": {"channels": ["values"], "since": 0}}
        stuck.sendall(_masked(json.dumps(subscribe).encode()))
        await quick.subscribe(["lifecycle"])
        for _ in range(4):
            await quick.run(text="x" * 2_000_000)
            await quick.until_end()
        server.signal(signal.SIGTERM)
        assert await quick.closed() == 1012
    # It does not even answer that the server leaves.
    assert server.await_exit() == 0
    stuck.close()


def _raw(server: Server, key: str, thread_id: str) -> plain_socket.socket:
    """A handshake by hand, of a client that reads only the answer to it."""
    host, port = server.url.removeprefix("http://").split(":")
    made = plain_socket.create_connection((host, int(port)))
    made.setsockopt(plain_socket.SOL_SOCKET, plain_socket.SO_RCVBUF, 4096)
    lines = [
        f"GET /threads/{thread_id}/stream/events HTTP/1.1",
        f"Host: {host}:{port}",
        *("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
        f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nX-Api-Key: {key}\r\n\r\n",
    ]
    made.sendall("\r\n".join(lines).encode())
    assert made.recv(12) == b"HTTP/1.1 101"
    return made


def _masked(payload: bytes) -> bytes:
    """A text frame of less than 126 bytes, masked with zeros."""
    assert len(payload) < 126
    return b"\x81" + bytes([0x80 + len(payload)]) + bytes(4) + payload


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param(b"\x81\x05hello", id="unmasked"),
        pytest.param(b"\xf1\x80\0\0\0\0", id="reserved bits"),
        pytest.param(b"\x83\x80\0\0\0\0", id="unknown opcode"),
        pytest.param(b"\x89\xfe\x00\x80" + bytes(4) + bytes(128), id="large ping"),
        pytest.param(b"\x80\x80\0\0\0\0", id="continuation of nothing"),
        pytest.param(b"\x81\x82\0\0\0\0\xff\xfe", id="no UTF-8"),
        pytest.param(b"\x81\xff\xff" + bytes(7) + bytes(4), id="negative length"),
        pytest.param(b"\x88\x81\0\0\0\0\x01", id="half a close code"),
        pytest.param(b"\x88\x82\0\0\0\0\x00\x01", id="bad close code"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="http"),
    ],
)
async def test_frames_that_break_the_rules_end_their_socket_alone(server: Server, key: str, frames: bytes) -> None:
    broken = _raw(server, key, str(uuid4()))
    broken.settimeout(30)
    broken.sendall(frames)
    ended = await asyncio.to_thread(_rest, broken)
    # A close that is none is not answered.
    assert b"\x88" in ended or frames.startswith(b"\x88")
    async with open_socket(server, key) as socket:
        assert (await socket.command("nothing.known"))["error"] == "unknown_command"


def _rest(connection: plain_socket.socket) -> bytes:
    found = b""
    # Who does not answer a close is cut.
    with connection, suppress(ConnectionResetError):
        while data := connection.recv(65536):
            found += data
    return found


async def test_a_ticket_is_in_no_log(make_server: MakeServer) -> None:
    server = make_server(LOG_LEVEL="DEBUG").start()
    key = server.key("alice@acme.test", "acme")
    good = await ticket(server, key)
    async with open_socket(server, query=f"?ticket={good}") as socket:
        await socket.command("nothing.known")
    assert await refusal(server, query=f"?ticket={good}") == 401
    assert await refusal(server, query=f"?ticket={good}", origin=OTHER_SITE) == 4401
    assert server.stop() == 0
    assert good not in server.log() and key not in server.log()


async def test_too_many_sockets_and_subscriptions_are_refused(make_server: MakeServer) -> None:
    server = make_server(SOCKET_MAX_PER_CREDENTIAL="2", SOCKET_MAX_SUBSCRIPTIONS="2").start()
    key, other = server.key("alice@acme.test", "acme"), server.key("alice@acme.test", "acme")
    async with open_socket(server, key) as first:
        async with open_socket(server, key):
            assert await refusal(server, key=key) == 429
            async with open_socket(server, other):
                pass
        for _ in range(2):
            await first.subscribe()
        assert (await first.command("subscription.subscribe", channels=["values"]))["error"] == "invalid_argument"

        async def opens() -> bool:
            async with open_socket(server, key) as again:
                return isinstance(again, Socket)

        assert await opens()


async def test_a_flood_of_commands_ends_its_socket(make_server: MakeServer) -> None:
    server = make_server(SOCKET_COMMANDS_PER_SECOND="1", SOCKET_COMMAND_BURST="5").start()
    key = server.key("alice@acme.test", "acme")
    async with open_socket(server, key) as socket:
        flood = asyncio.create_task(_flood(socket))
        assert await socket.closed() == 4429
        await flood


async def _flood(socket: Socket) -> None:
    try:
        for number in range(5000):
            await socket.connection.send(json.dumps({"id": number, "method": "x"}))
    except ConnectionClosed:
        pass


def test_a_socket_costs_little(make_server: MakeServer) -> None:
    server = make_server(SOCKET_MAX_PER_CREDENTIAL="1000").start()
    key = server.key("alice@acme.test", "acme")
    threads, files = asyncio.run(_hold(server, key, 20))
    assert asyncio.run(_hold(server, key, 220)) == (threads, files)
    until(lambda: server.open_files(lambda place: place.startswith("socket:")) < 20)


async def _hold(server: Server, key: str, number: int) -> tuple[int, int]:
    """The threads and database files of a server that has so many silent sockets."""
    opened = [open_socket(server, key) for _ in range(number)]
    sockets = await asyncio.gather(*(each.__aenter__() for each in opened))
    for socket in sockets:
        await socket.subscribe()
    held = server.threads(), server.open_files(lambda place: ".sqlite3" in place)
    await asyncio.gather(*(each.__aexit__(None, None, None) for each in opened))
    return held
