"""A host keeps its runs whoever crowds the threads of readers and handshakes."""

import asyncio
import threading
from typing import Any

import pytest
from django.conf import LazySettings

from accounts.models import User
from runs.database import in_command_thread, in_database
from runs.host.host import Host
from runs.models import Run
from tests.factories import make_run, tenant_of

pytestmark = pytest.mark.django_db(transaction=True)


class FakeEngine:
    """It takes what it is handed."""

    gone = solo = False

    def __init__(self) -> None:
        self.held: set[Any] = set()
        self.sent: list[str] = []

    def send(self, kind: str, **_: object) -> None:
        self.sent.append(kind)


async def test_leases_are_renewed_and_runs_claimed_past_a_crowd(
    alice: User, acme: object, settings: LazySettings
) -> None:
    run: Run = await in_database(lambda: make_run(tenant_of(alice)))
    host, engine = Host(), FakeEngine()
    host._is_alone = True
    gate = threading.Event()
    crowd = [
        asyncio.create_task(into(gate.wait))
        for into, number in ((in_database, settings.DATABASE_THREADS), (in_command_thread, settings.SOCKET_THREADS))
        for _ in range(3 * number)
    ]
    try:
        async with asyncio.timeout(10):
            assert await host._claim(engine, 1) == 1  # type: ignore[arg-type]
            await host._check_leases()
        assert engine.sent == ["start"] and [held.attempt.run_id for held in host._held.values()] == [run.pk]
    finally:
        gate.set()
        await asyncio.gather(*crowd)
