"""What the commands of sockets say is read beside the loop, and engines that keep them waiting keep nobody else."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import orjson
import pytest
from django.conf import LazySettings

from accounts.models import Organization, User
from accounts.tenancy import Tenant
from runs import calls
from runs.consumers import commands as socket_commands
from runs.consumers.commands import performed, read
from runs.exceptions import Unavailable
from runs.protocol.commands import Command, CommandMalformed, Done
from runs.protocol.requests.events import Subscription
from tests.factories import tenant_of

pytestmark = pytest.mark.django_db(transaction=True)


def command(method: str, **params: Any) -> Command:
    return Command(id=1, method=method, params=params)


class Engine:
    """It answers nothing before it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers = asyncio.Event()

    async def __call__(self, method: str, params: dict[str, Any]) -> bytes:
        self.asked += 1
        await self.answers.wait()
        return b"null"


@pytest.fixture
async def engine(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Engine]:
    def perform(tenant: Tenant, thread_id: str, it: Command) -> Done:
        return Done({"answer": calls.ask("state").decode() if it.method == "asks" else "none"})

    monkeypatch.setattr(socket_commands, "perform", perform)
    engine = Engine()
    calls.install(engine)
    yield engine
    engine.answers.set()
    calls.install(None)


@pytest.fixture
def tenant(alice: User, acme: Organization) -> Tenant:
    return tenant_of(alice)


async def begun(engine: Engine, number: int) -> None:
    async with asyncio.timeout(10):
        while engine.asked < number:
            await asyncio.sleep(0.001)


async def test_who_waits_for_an_engine_holds_up_no_other_command(
    tenant: Tenant, engine: Engine, settings: LazySettings
) -> None:
    thread_id, half = str(uuid4()), settings.SOCKET_THREADS // 2
    asking = [asyncio.create_task(performed(tenant, thread_id, command("asks"))) for _ in range(20)]
    await begun(engine, half)
    async with asyncio.timeout(4):
        for _ in range(5):
            assert (await performed(tenant, thread_id, command("writes"))).result == {"answer": "none"}
        # Nor a request.
        question = asyncio.create_task(asyncio.to_thread(calls.ask, "state"))
        await begun(engine, half + 1)
    assert engine.asked == half + 1
    engine.answers.set()
    assert await question == b"null"
    assert all(done.result == {"answer": "null"} for done in await asyncio.gather(*asking))


async def test_who_waits_too_long_to_ask_is_told_to_try_again(
    tenant: Tenant, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "_PATIENCE", 0.05)
    asking = [asyncio.create_task(performed(tenant, "x", command("asks"))) for _ in range(2)]
    await begun(engine, 2)
    with pytest.raises(Unavailable, match="try again"):
        await performed(tenant, "x", command("asks"))
    engine.answers.set()
    await asyncio.gather(*asking)
    assert await performed(tenant, "x", command("asks"))


async def test_a_socket_that_ends_gives_nobody_its_engine_before_that_answers(
    tenant: Tenant, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "_PATIENCE", 0.05)
    asking = [asyncio.create_task(performed(tenant, "x", command("asks"))) for _ in range(2)]
    await begun(engine, 2)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    with pytest.raises(Unavailable):
        await performed(tenant, "x", command("asks"))
    assert engine.asked == 2


async def test_large_commands_are_read_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    read_in: list[threading.Thread] = []
    parsed = socket_commands._parsed

    def noted(text: bytes) -> Any:
        read_in.append(threading.current_thread())
        return parsed(text)

    monkeypatch.setattr(socket_commands, "_parsed", noted)
    small = {"id": 1, "method": "subscription.subscribe", "params": {"channels": ["values"]}}
    found = await read(orjson.dumps(small))
    assert isinstance(found[1], Subscription)
    large = {**small, "params": {f"key{number}": number for number in range(20_000)}}
    with pytest.raises(CommandMalformed) as malformed:
        await read(orjson.dumps(large))
    assert malformed.value.id == 1 and "channels" in malformed.value.message
    assert read_in[0] is threading.main_thread() is not read_in[1]
