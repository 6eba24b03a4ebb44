"""Who may open a socket, from where, and what the consumer does for them."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import pytest
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator
from django.conf import LazySettings
from django.db import OperationalError

from accounts.models import ApiKey, Membership, Organization, Role, User
from accounts.services import add_member
from accounts.tokens import issue_access_token
from deerflow_site import handshake
from deerflow_site.asgi import application
from runs.consumers import thread as consumers
from runs.consumers.routing import SOCKETS
from runs.database import in_database
from runs.log import current_hub
from runs.protocol.commands import Done
from tests.api.routes import ROUTES
from tests.factories import api_key_of

pytestmark = pytest.mark.django_db(transaction=True)

OWN, OTHER, NAMED = b"http://testserver", b"https://other.example.org", b"https://named.example.org"


@pytest.fixture(autouse=True)
def hosts(settings: LazySettings) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]
    settings.CORS_ALLOWED_ORIGINS = [NAMED.decode()]


@pytest.fixture
def key(alice: User, acme: Organization) -> str:
    return api_key_of(alice)


@pytest.fixture
def cookie(alice: User, acme: Organization) -> bytes:
    return b"access_token=" + issue_access_token(alice).encode()


def opening(key: str = "", origin: bytes = b"", path: str = "", **headers: bytes) -> WebsocketCommunicator:
    found = {
        b"host": b"testserver",
        **({b"x-api-key": key.encode()} if key else {}),
        **({b"origin": origin} if origin else {}),
    }
    found |= {name.encode(): value for name, value in headers.items()}
    return WebsocketCommunicator(application, path or f"/threads/{uuid4()}/stream/events", list(found.items()))


async def code_of(communicator: WebsocketCommunicator) -> int:
    """The code with which it is closed at once; 0 when it is open."""
    opened, _ = await communicator.connect()
    assert opened
    if await communicator.receive_nothing(0.02):
        await communicator.disconnect()
        return 0
    return int((await communicator.receive_output())["code"])


@pytest.mark.parametrize("origin", [b"", OWN, NAMED, OTHER, b"null"])
async def test_a_key_comes_from_anywhere(key: str, origin: bytes) -> None:
    assert await code_of(opening(key, origin)) == 0


@pytest.mark.parametrize(
    ("origin", "code"),
    [
        *((OWN, 0), (NAMED, 0), (OTHER, 4403), (b"null", 4403), (b"", 4403), (b"https://testserver", 4403)),
        *((b"http://testserver:8000", 4403), (b"http://testserver.evil.org", 4403), (b"http://localhost:3000", 4403)),
    ],
)
async def test_a_cookie_comes_from_pages_of_this_site(cookie: bytes, origin: bytes, code: int) -> None:
    assert await code_of(opening(origin=origin, cookie=cookie)) == code


async def test_a_bearer_token_opens_a_socket(alice: User, acme: Organization) -> None:
    assert await code_of(opening(authorization=b"Bearer " + issue_access_token(alice).encode())) == 0
    assert await code_of(opening(authorization=b"Bearer no")) == 4401


async def test_a_bad_key_is_not_made_good_by_a_cookie(cookie: bytes) -> None:
    assert await code_of(opening("dfk_no", OWN, cookie=cookie)) == 4401


async def test_a_host_that_is_not_served_is_refused(cookie: bytes, key: str) -> None:
    assert await code_of(opening(key, host=b"evil.example.org")) == 4400
    assert await code_of(opening(origin=b"http://evil.example.org", host=b"evil.example.org", cookie=cookie)) == 4400


async def test_a_proxy_that_is_not_trusted_does_not_say_that_it_is_https(settings: LazySettings, cookie: bytes) -> None:
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    forged = {"cookie": cookie, "x-forwarded-proto": b"https"}
    assert await code_of(opening(origin=b"https://testserver", **forged)) == 4403


async def test_without_an_organization_there_is_nothing_to_open(alice: User) -> None:
    token = issue_access_token(alice).encode()
    assert await code_of(opening(authorization=b"Bearer " + token)) == 4403


@pytest.mark.parametrize("thread_id", ["a.b", "x" * 65, "%00"])
async def test_what_can_be_no_thread_is_not_there(key: str, thread_id: str) -> None:
    assert await code_of(opening(key, path=f"/threads/{thread_id}/stream/events")) == 4404


@pytest.mark.parametrize("path", ["/", "/threads", "/threads/x/stream", "/api/api/threads/x/stream/events"])
async def test_other_addresses_are_not_there(key: str, path: str) -> None:
    assert await code_of(opening(key, path=path)) == 4404


async def test_while_the_database_is_away_it_is_to_be_tried_again(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OperationalError

    monkeypatch.setattr(handshake, "identify_opener", fail)
    assert await code_of(opening(key)) == 1013


async def test_a_program_is_told_by_a_status(key: str) -> None:
    refused = opening("dfk_no")
    refused.scope["extensions"] = {"websocket.http.response": {}}
    await refused.send_input({"type": "websocket.connect"})
    assert (await refused.receive_output())["status"] == 401
    assert set(json.loads((await refused.receive_output())["body"])) == {"detail"}


async def test_no_socket_has_a_channel_of_the_layer(key: str) -> None:
    sockets = [opening(key) for _ in range(5)]
    for socket in sockets:
        assert (await socket.connect())[0]
    assert len(get_channel_layer().channels) <= 1
    for socket in sockets:
        await socket.disconnect()


async def command(socket: WebsocketCommunicator, method: str, **params: Any) -> dict[str, Any]:
    await socket.send_json_to({"id": 1, "method": method, "params": params})
    return dict(await socket.receive_json_from(5))


async def test_a_command_needs_what_its_role_gives_now(alice: User, acme: Organization, key: str) -> None:
    socket = opening(key)
    await socket.connect()
    await in_database(Membership.objects.filter(user=alice).update, role=Role.VIEWER)
    assert (await command(socket, "run.start", assistant_id="echo", input={}))["error"] == "permission_denied"
    assert (await command(socket, "subscription.subscribe", channels=["values"]))["type"] == "success"
    await socket.disconnect()


async def test_a_viewer_may_watch(acme: Organization) -> None:
    viewer = await in_database(User.objects.create_user, "vera@acme.test")
    await in_database(add_member, acme, viewer, Role.VIEWER)
    assert await code_of(opening(await in_database(api_key_of, viewer))) == 0


async def test_a_revoked_key_performs_nothing_more(alice: User, key: str) -> None:
    socket = opening(key)
    await socket.connect()
    await in_database(ApiKey.objects.all().revoke)
    await socket.send_json_to({"id": 1, "method": "run.start", "params": {"assistant_id": "echo"}})
    assert (await socket.receive_output(5)) == {
        "type": "websocket.close",
        "code": 4401,
        "reason": "You may not read this any more.",
    }


class Slow:
    """A command that is performed once it is told to be."""

    def __init__(self) -> None:
        self.begun, self.goes_on = asyncio.Event(), asyncio.Event()
        self.performed = 0

    async def __call__(self, *_: Any) -> Done:
        self.begun.set()
        await self.goes_on.wait()
        self.performed += 1
        return Done({"it": "is done"})


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    slow = Slow()
    monkeypatch.setattr(consumers, "performed", slow)
    return slow


@pytest.mark.parametrize("by", ["message", "hub"])
async def test_who_leaves_answers_what_is_being_performed_and_no_more(key: str, slow: Slow, by: str) -> None:
    socket = opening(key)
    await socket.connect()
    for number in range(3):
        await socket.send_json_to({"id": number, "method": "run.start", "params": {}})
    await slow.begun.wait()
    if by == "hub":
        current_hub().cut()
    await socket.send_input({"type": "websocket.leave"})
    assert await socket.receive_nothing(0.05)
    slow.goes_on.set()
    assert await socket.receive_json_from(5) == {"type": "success", "id": 0, "result": {"it": "is done"}}
    assert (await socket.receive_output(5))["code"] == 1012
    assert slow.performed == 1


async def test_who_leaves_does_not_wait_for_ever(key: str, slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "_ANSWER_SECONDS", 0.01)
    socket = opening(key)
    await socket.connect()
    await socket.send_json_to({"id": 1, "method": "run.start", "params": {}})
    await slow.begun.wait()
    await socket.send_input({"type": "websocket.leave"})
    assert (await socket.receive_output(5))["code"] == 1012


async def test_more_subscriptions_than_may_be_are_not_even_read(key: str, settings: LazySettings) -> None:
    settings.SOCKET_MAX_SUBSCRIPTIONS = 2
    socket = opening(key)
    await socket.connect()
    for ids, error in ((["x", "y"], "no_such_subscription"), (["x", "y", "z"], "invalid_argument")):
        answer = await command(socket, "subscription.reconnect", run_id=str(uuid4()), subscriptions=ids)
        assert answer["error"] == error
    await socket.disconnect()


def test_every_socket_is_known_to_the_tests() -> None:
    """Each is as a route that streams the same, whose table says what it needs."""
    streams = {route.path.replace("{thread_id}", "(?P<thread_id>[^/]+)") for route in ROUTES if route.method == "POST"}
    assert len(SOCKETS) == 1 and SOCKETS.keys() <= streams
