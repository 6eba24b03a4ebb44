"""Subscriptions to the events of a thread as Server-Sent Events: what they take, and what comes to whom."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.conf import LazySettings
from rest_framework.test import APIClient

from accounts.models import Membership, Organization, User
from accounts.tenancy import Tenant
from deerflow_site.handler import CUT, ASGIHandler
from runs.api import access
from runs.api.streaming import LiveResponse, events_response, thread_response
from runs.database import in_database
from runs.identifiers import new_id
from runs.lifecycle import Outcome
from runs.log import Hub
from runs.models import Run, Thread
from runs.protocol.selection import selection
from runs.services.readers import Reading, refusals
from runs.states import RunStatus
from tests.api.rows import Rows, make_rows
from tests.appending import emit
from tests.factories import api_key_of, make_run, make_thread, tenant_of

rows = pytest.mark.django_db
with_rows = pytest.mark.django_db(transaction=True)
VALUES = {"channels": ["values"]}
#: So long that a test which waits for it fails.
NEVER = 60.0


def events(client: APIClient, thread_id: str, body: Any, prefix: str = "") -> Any:
    return client.post(f"{prefix}/threads/{thread_id}/stream/events", body)


# What is asked for.


@rows
@pytest.mark.parametrize("prefix", ["", "/api"])
def test_it_opens_as_a_stream(client: APIClient, prefix: str) -> None:
    response = events(client, str(new_id()), VALUES, prefix)
    assert (response.status_code, response.streaming) == (200, True)
    assert {name: response[name] for name in ("Content-Type", "Cache-Control", "X-Accel-Buffering")} == {
        "Content-Type": "text/event-stream; charset=utf-8",
        "Cache-Control": "no-cache, no-transform",
        "X-Accel-Buffering": "no",
    }


@rows
@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({}, ["body", "channels"]),
        ({"channels": []}, ["body", "channels"]),
        ({"channels": ["values", "debug"]}, ["body", "channels"]),
        ({"channels": ["custom:"]}, ["body", "channels"]),
        ({"channels": "values"}, ["body", "channels"]),
        ({**VALUES, "since": -1}, ["body", "since"]),
        ({**VALUES, "since": "1"}, ["body", "since"]),
        ({**VALUES, "depth": -1}, ["body", "depth"]),
        ({**VALUES, "namespaces": ["child"]}, ["body", "namespaces", 0]),
        ({**VALUES, "modes": ["values"]}, ["body", "modes"]),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(client: APIClient, body: Any, loc: list[Any]) -> None:
    response = events(client, str(new_id()), body)
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == loc


@rows
def test_an_id_that_is_none_is_not_waited_for(client: APIClient) -> None:
    response = events(client, "a.b", VALUES)
    assert (response.status_code, response.json()) == (404, {"detail": "Thread not found."})


# What comes.


@pytest.fixture
def tenant(alice: User, acme: Organization) -> Tenant:
    return tenant_of(alice)


@pytest.fixture
def run(tenant: Tenant) -> Run:
    return make_run(tenant, make_thread(tenant, shared=True), status=RunStatus.RUNNING)


@pytest.fixture
def brisk(settings: LazySettings, monkeypatch: pytest.MonkeyPatch, hub: Hub) -> None:
    """Nothing that a test waits for takes long."""
    settings.STREAM_HEARTBEAT = 0.01
    monkeypatch.setattr(access, "ACCESS_SECONDS", 0.05)


async def read_to(response: LiveResponse, mark: bytes) -> bytes:
    """The body so far, once it holds `mark`."""
    body = b""
    async with asyncio.timeout(10):
        async for part in response.parts:
            body += part
            if mark in body:
                break
    return body


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def read_all(response: LiveResponse) -> bytes:
    """The body of a response that ends soon."""
    async with asyncio.timeout(10):
        return b"".join([part async for part in response.parts])


@with_rows
@pytest.mark.usefixtures("brisk")
async def test_events_are_frames_and_silence_is_a_comment(tenant: Tenant, run: Run) -> None:
    await emit(run, {"a": 1}, outcome=Outcome(RunStatus.SUCCESS, values=b'{"a":1}'))
    response = events_response(tenant, run.thread_id, selection(["values", "lifecycle"]), None)
    body = await read_to(response, b": heartbeat\r\n\r\n" * 2)
    frames = body.split(b"\r\n\r\n")
    assert [frame.split(b"\r\n")[0] for frame in frames[:4]] == [
        b"event: values",
        b"event: values",
        b"event: lifecycle",
        b": heartbeat",
    ]
    assert [frame.split(b"\r\n")[2] for frame in frames[:3]] == [b"id: 0", b"id: 1", b"id: 2"]


STREAMS: dict[str, Callable[[Tenant, Thread], LiveResponse]] = {
    "events": lambda tenant, thread: events_response(tenant, thread.pk, selection(["values"]), None),
    "thread": lambda tenant, thread: thread_response(tenant, thread, ["run_modes"], after=0),
}
each_stream = pytest.mark.parametrize("stream", STREAMS)


@with_rows
@pytest.mark.usefixtures("brisk")
@each_stream
async def test_a_stream_with_nothing_to_tell_is_answered_at_once(
    tenant: Tenant, run: Run, settings: LazySettings, stream: str
) -> None:
    """The head of an answer is sent with its first bytes, and a client waits for it."""
    settings.STREAM_HEARTBEAT = NEVER
    response = STREAMS[stream](tenant, await in_database(Thread.objects.get))
    assert await read_to(response, b"\r\n\r\n") == b": heartbeat\r\n\r\n"


def lose_membership(user: User) -> None:
    Membership.objects.filter(user=user).delete()


def lose_thread(user: User) -> None:
    Thread.objects.update(shared=False)


@with_rows
@pytest.mark.usefixtures("brisk")
@each_stream
@pytest.mark.parametrize("lose", [lose_membership, lose_thread])
async def test_a_stream_ends_cleanly_as_soon_as_its_reader_may_not_read_on(
    run: Run,
    bob: User,
    settings: LazySettings,
    monkeypatch: pytest.MonkeyPatch,
    stream: str,
    lose: Callable[[User], None],
) -> None:
    settings.STREAM_HEARTBEAT = NEVER
    asked: list[Reading] = []

    def noted(readings: Sequence[Reading]) -> list[int | None]:
        asked.extend(reading for reading in readings if reading.created_at)
        return refusals(readings)

    monkeypatch.setattr(access, "refusals", noted)
    tenant, thread = await in_database(tenant_of, bob), await in_database(Thread.objects.get)
    reading = asyncio.create_task(read_all(STREAMS[stream](tenant, thread)))
    await until(lambda: len(asked) > 2)
    assert not reading.done()
    await in_database(lose, bob)
    await reading


@with_rows
@each_stream
async def test_another_thread_of_the_same_id_is_not_shown(
    run: Run,
    tenant: Tenant,
    charlie: User,
    hub: Hub,
    settings: LazySettings,
    monkeypatch: pytest.MonkeyPatch,
    stream: str,
) -> None:
    """Not even before anybody asks whether its reader may go on."""
    settings.STREAM_HEARTBEAT = 0.05
    monkeypatch.setattr(access, "ACCESS_SECONDS", NEVER)
    thread = await in_database(Thread.objects.get)
    stranger = await in_database(tenant_of, charlie)

    def replace() -> Run:
        Thread.objects.all().delete()
        return make_run(stranger, make_thread(stranger, thread_id=thread.pk), status=RunStatus.RUNNING)

    await emit(run, {"a": "own"})
    response = STREAMS[stream](tenant, thread)
    assert b"own" in await read_to(response, b"own")
    theirs = await in_database(replace)
    for _ in range(5):
        await emit(theirs, {"a": "secret"})
    assert b"secret" not in await read_to(response, b": heartbeat\r\n\r\n" * 20)
    await response.parts.aclose()


@with_rows
@each_stream
async def test_a_cut_ends_a_stream_without_an_end(alice: User, run: Run, hub: Hub, stream: str) -> None:
    key = await in_database(api_key_of, alice)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)
        if message["type"] == "http.response.start":
            asyncio.get_running_loop().call_later(0.1, hub.cut)

    handler = ASGIHandler()
    method, path, body = (
        ("POST", "stream/events", b'{"channels": ["values"]}') if stream == "events" else ("GET", "stream", b"")
    )
    await asyncio.wait_for(handler(_scope(method, f"/threads/{run.thread_id}/{path}", key), _receive(body), send), 10)
    start, *told, end = sent
    assert (start["type"], end["type"]) == ("http.response.start", CUT)
    assert all(message["more_body"] for message in told)


def _scope(method: str, path: str, key: str) -> dict[str, Any]:
    headers = [(b"host", b"localhost"), (b"x-api-key", key.encode()), (b"content-type", b"application/json")]
    return {
        "type": "http",
        "method": method,
        "path": path,
        "headers": headers,
        "query_string": b"",
        "server": ("localhost", 80),
    }


def _receive(body: bytes) -> Callable[[], Any]:
    messages = [{"type": "http.request", "body": body}]

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await asyncio.Event().wait()

    return receive


# To whom it comes.


@pytest.fixture
def private(alice: User, acme: Organization, graphs: object) -> Rows:
    return make_rows(alice, "canary")


@with_rows
@pytest.mark.usefixtures("brisk")
@pytest.mark.parametrize("who", ["bob", "charlie"])
@pytest.mark.parametrize("since", [None, 0, 1])
async def test_a_stranger_hears_as_much_of_somebody_elses_thread_as_of_none(
    request: pytest.FixtureRequest, private: Rows, tenant: Tenant, bob: User, charlie: User, who: str, since: int | None
) -> None:
    """Nothing, though it goes on."""
    stranger = await in_database(tenant_of, {"bob": bob, "charlie": charlie}[who])
    everything = selection(["values", "lifecycle", "custom", "updates", "messages", "tools", "input", "tasks"])
    thread = await in_database(Thread.objects.get)
    run = await in_database(lambda: make_run(tenant, thread, status=RunStatus.RUNNING))
    silence = b": heartbeat\r\n\r\n" * 20
    reading = asyncio.gather(
        *(
            read_to(events_response(stranger, thread_id, everything, since), silence)
            for thread_id in (thread.pk, str(new_id()))
        )
    )
    for _ in range(5):
        await emit(run, {"word": "canary"})
    assert await reading == [silence, silence]
    assert b"canary" in await read_to(events_response(tenant, thread.pk, everything, since), b"canary")
