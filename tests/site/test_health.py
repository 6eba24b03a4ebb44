"""Probes: `/live` while the loop turns, `/ready` while the server is of use."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError

from deerflow_site import health as health_module
from deerflow_site.health import Health

pytestmark = pytest.mark.django_db(transaction=True)

STOPS = "The server starts or stops, or its engines do."
AWAY = "The database does not answer."


@pytest.fixture
def health() -> Health:
    """Of a server that works; other paths are answered with 418."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert await receive() == {"type": "http.request"}
        await send({"type": "http.response.start", "status": 418, "headers": []})
        await send({"type": "http.response.body", "body": b'{"path": "%s"}' % scope["path"].encode()})

    health = Health(application)
    health.host_is_ready = lambda: True
    return health


class Answer:
    def __init__(self, sent: list[dict[str, Any]]) -> None:
        start, body = sent
        self.status = start["status"]
        self.headers = dict(start["headers"])
        self.body = json.loads(body["body"])

    @property
    def retry(self) -> bytes | None:
        return self.headers.get(b"retry-after")


async def get(health: Health, path: str) -> Answer:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    async with asyncio.timeout(10):
        await health({"type": "http", "method": "GET", "path": path}, receive, send)
    return Answer(sent)


class Asked:
    """The database as the checks ask it; `behave` may fail or hang."""

    def __init__(self) -> None:
        self.count = 0
        self.cancelled = 0
        self.behave: Callable[[], Awaitable[Any]] | None = None

    async def in_database(self, function: Callable[..., Any], *args: Any) -> Any:
        self.count += 1
        if self.behave is not None:
            try:
                return await self.behave()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        return True


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    asked = Asked()
    monkeypatch.setattr(health_module, "in_database", asked.in_database)
    yield asked


async def test_a_server_that_works_lives_and_is_ready(health: Health) -> None:
    for path in ("/live", "/ready"):
        answer = await get(health, path)
        assert (answer.status, answer.body, answer.retry) == (200, {"ok": True}, None)
        assert answer.headers[b"content-type"] == b"application/json"
        assert answer.headers[b"cache-control"] == b"no-store"


@pytest.mark.parametrize("path", ["/", "/ok", "/live/", "/ready/", "/readyz", "/api/ready", ""])
async def test_other_paths_are_passed_on(health: Health, path: str) -> None:
    answer = await get(health, path)
    assert (answer.status, answer.body) == (418, {"path": path})


async def test_a_server_without_a_host_lives_but_is_not_ready(health: Health, asked: Asked) -> None:
    health.host_is_ready = lambda: False
    answer = await get(health, "/ready")
    assert (answer.status, answer.body, answer.retry) == (503, {"detail": STOPS}, b"1")
    assert (await get(health, "/live")).status == 200
    assert not asked.count


def test_a_server_is_not_ready_before_somebody_says_how_it_would_be() -> None:
    async def nowhere(*_: Any) -> None: ...

    assert not Health(nowhere).host_is_ready()


@pytest.mark.parametrize("failure", [OperationalError("secret"), InterfaceError("secret"), TimeoutError()])
async def test_a_server_whose_database_fails_is_not_ready(health: Health, asked: Asked, failure: Exception) -> None:
    async def fail() -> None:
        raise failure

    asked.behave = fail
    answer = await get(health, "/ready")
    assert (answer.status, answer.body, answer.retry) == (503, {"detail": AWAY}, b"1")
    assert (await get(health, "/live")).status == 200


async def test_a_server_whose_database_hangs_is_not_ready(
    health: Health, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_module, "_PATIENCE_SECONDS", 0.01)
    asked.behave = asyncio.Event().wait
    answer = await get(health, "/ready")
    assert (answer.status, answer.body, answer.retry) == (503, {"detail": AWAY}, b"1")


async def test_a_probe_of_life_waits_for_nobody(health: Health, asked: Asked) -> None:
    asked.behave = asyncio.Event().wait
    probing = asyncio.create_task(get(health, "/ready"))
    while not asked.count:
        await asyncio.sleep(0)
    assert (await get(health, "/live")).status == 200
    probing.cancel()
    with suppress(asyncio.CancelledError):
        await probing


async def test_a_server_before_its_migrations_is_not_ready(health: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_module, "_KEPT_SECONDS", 0.0)
    monkeypatch.setattr(health_module, "is_migrated", lambda: False)
    answer = await get(health, "/ready")
    assert (answer.status, answer.body, answer.retry) == (503, {"detail": "The database is not migrated."}, b"1")
    monkeypatch.setattr(health_module, "is_migrated", lambda: True)
    assert (await later(health)).status == 200


async def test_migrations_are_looked_for_until_they_are_there(
    health: Health, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_module, "_KEPT_SECONDS", 0.0)
    for count in (2, 3, 4):
        assert (await later(health)).status == 200
        assert asked.count == count


async def later(health: Health) -> Answer:
    """The answer to a probe that comes when those before are forgotten."""
    async with asyncio.timeout(10):
        while health._checking is not None:
            await asyncio.sleep(0.001)
    return await get(health, "/ready")


async def test_probes_that_come_together_share_one_check(
    health: Health, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    health._migrated = True
    gate = asyncio.Event()
    asked.behave = gate.wait
    probes = [asyncio.create_task(get(health, "/ready")) for _ in range(20)]
    while not asked.count:
        await asyncio.sleep(0)
    # One of them does not wait for the answer.
    probes[0].cancel()
    await asyncio.sleep(0)
    gate.set()
    _, *answers = await asyncio.gather(*probes, return_exceptions=True)
    assert {answer.status for answer in answers if isinstance(answer, Answer)} == {200} and len(answers) == 19
    assert (asked.count, asked.cancelled) == (1, 0)
    assert (await get(health, "/ready")).status == 200 and asked.count == 1


async def test_an_answer_is_kept_for_a_while_only(
    health: Health, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_module, "_KEPT_SECONDS", 0.01)

    async def fail() -> None:
        raise OperationalError("away")

    asked.behave = fail
    assert (await get(health, "/ready")).status == 503
    asked.behave = None
    assert (await get(health, "/ready")).status == 503
    assert (await later(health)).status == 200
    health.host_is_ready = lambda: False
    assert (await later(health)).status == 503
