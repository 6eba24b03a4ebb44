"""Runs that end with their readers: with the last one, wherever it reads, unless it is back soon."""

import asyncio
import importlib.util
import uuid
from collections.abc import AsyncIterator, Callable
from types import ModuleType
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import OperationalError, ProgrammingError
from django.dispatch import Signal

from runs import database
from runs.api import presence
from runs.log import Hub, current_hub
from runs.models import Run
from runs.signals import readers_found, readers_sought
from runs.states import CancelAction

pytestmark = pytest.mark.django_db(transaction=True)

RUN = uuid.UUID(int=1)
OTHER = uuid.UUID(int=2)


@pytest.fixture(autouse=True)
async def clean(settings: LazySettings, monkeypatch: pytest.MonkeyPatch, hub: Hub) -> AsyncIterator[None]:
    """A server without readers, alone on its database, that waits for no reader to come back."""
    settings.POSTGRES, settings.DISCONNECT_GRACE = None, 0
    monkeypatch.setattr(presence, "_ANSWER_SECONDS", 0.05)
    forget(presence)
    yield
    forget(presence)


def forget(server: ModuleType) -> None:
    for kept in (server._readers, server._abandoned, server._sought):
        kept.clear()


@pytest.fixture
def cancelled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The runs that were cancelled."""
    asked: list[Any] = []
    monkeypatch.setattr(presence.lifecycle, "request_cancel", lambda *args: asked.append(args))
    return asked


INTERRUPTED = [(RUN, "thread", CancelAction.INTERRUPT)]


def leave(server: ModuleType = presence, *, early: bool = True, takes_run_along: bool = True) -> None:
    server.leave(RUN, "thread", early=early, takes_run_along=takes_run_along)


async def settled(*servers: ModuleType) -> None:
    async with asyncio.timeout(10):
        while tasks := [task for server in servers or (presence,) for task in server._tasks]:
            await asyncio.gather(*tasks)


async def test_a_reader_takes_its_run_along(cancelled: list[Any]) -> None:
    presence.arrive(RUN)
    leave()
    await settled()
    assert cancelled == INTERRUPTED
    assert not presence._readers and not presence._abandoned


async def test_a_run_of_its_own_right_goes_on_without_readers(cancelled: list[Any]) -> None:
    presence.arrive(RUN)
    leave(takes_run_along=False)
    await settled()
    assert not cancelled and not presence._readers


async def test_the_last_reader_takes_the_run_along_for_any_before_it(cancelled: list[Any]) -> None:
    for _ in range(3):
        presence.arrive(RUN)
    leave()
    leave(takes_run_along=False)
    await settled()
    assert not cancelled
    leave(takes_run_along=False)
    await settled()
    assert cancelled == INTERRUPTED


async def test_a_run_that_is_over_is_not_cancelled(cancelled: list[Any]) -> None:
    for _ in range(2):
        presence.arrive(RUN)
    leave()
    leave(early=False)
    await settled()
    assert not cancelled and not presence._abandoned and not presence._readers


async def test_a_reader_that_is_back_soon_keeps_the_run(cancelled: list[Any]) -> None:
    presence.arrive(RUN)
    leave()
    presence.arrive(RUN)
    await settled()
    assert not cancelled
    # It came back to a run that is to end with its readers, whoever they are.
    leave(takes_run_along=False)
    await settled()
    assert cancelled == INTERRUPTED


async def test_a_reader_has_time_to_come_back(cancelled: list[Any], settings: LazySettings) -> None:
    settings.DISCONNECT_GRACE = 0.05
    started = asyncio.get_running_loop().time()
    presence.arrive(RUN)
    leave()
    await asyncio.sleep(0)
    assert not cancelled
    await settled()
    assert cancelled and asyncio.get_running_loop().time() - started >= 0.05


async def test_runs_have_readers_of_their_own(cancelled: list[Any]) -> None:
    presence.arrive(RUN)
    presence.arrive(OTHER)
    leave()
    await settled()
    assert cancelled == INTERRUPTED and presence._readers == {OTHER: 1}


@pytest.mark.parametrize("failure", [Run.DoesNotExist(), ProgrammingError("wrong")])
async def test_a_run_that_can_not_be_cancelled_disturbs_nobody(
    monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(presence.lifecycle, "request_cancel", fail)
    presence.arrive(RUN)
    leave()
    await settled()


async def test_a_server_that_leaves_cancels_nothing(cancelled: list[Any]) -> None:
    presence.arrive(RUN)
    current_hub().cut()
    leave()
    await settled()
    assert not cancelled


async def test_a_server_that_leaves_while_it_waits_cancels_nothing(
    cancelled: list[Any], settings: LazySettings
) -> None:
    settings.DISCONNECT_GRACE = 0.01
    presence.arrive(RUN)
    leave()
    await asyncio.sleep(0)
    current_hub().cut()
    await settled()
    assert not cancelled


# Many servers.


@pytest.fixture
def told(settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Signal, str]]:
    """The news that servers told each other; every server of this process hears them at once."""
    settings.POSTGRES = {"ENGINE": "somewhere"}
    news: list[tuple[Signal, str]] = []
    loop = asyncio.get_event_loop_policy().get_event_loop()

    def tell(signal: Signal, about: str = "") -> None:
        news.append((signal, about))
        loop.call_soon_threadsafe(lambda: signal.send(sender=None, about=about))

    monkeypatch.setattr(presence, "tell", tell)
    return news


@pytest.fixture
async def elsewhere(told: list[Any]) -> AsyncIterator[ModuleType]:
    """Another server."""
    spec = importlib.util.spec_from_file_location("elsewhere", str(presence.__file__))
    assert spec and spec.loader
    server = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(server)
    server.tell = presence.tell  # type: ignore[attr-defined]
    server._ANSWER_SECONDS = presence._ANSWER_SECONDS  # type: ignore[attr-defined]
    yield server
    readers_sought.disconnect(server._on_sought)
    readers_found.disconnect(server._on_found)


async def test_nobody_is_asked_about_a_reader_that_is_back_soon(cancelled: list[Any], told: list[Any]) -> None:
    presence.arrive(RUN)
    leave()
    presence.arrive(RUN)
    await settled()
    assert not told and not cancelled


async def test_a_server_that_leaves_asks_nobody(cancelled: list[Any], told: list[Any]) -> None:
    presence.arrive(RUN)
    current_hub().cut()
    leave()
    await settled()
    assert not told and not cancelled


async def test_a_run_that_nobody_reads_elsewhere_is_cancelled(
    cancelled: list[Any], told: list[Any], elsewhere: ModuleType
) -> None:
    presence.arrive(RUN)
    elsewhere.arrive(OTHER)
    leave()
    await settled(presence, elsewhere)
    assert cancelled == INTERRUPTED
    assert told == [(readers_sought, str(RUN))]
    assert not elsewhere._abandoned and not presence._sought


async def test_a_run_that_is_read_elsewhere_is_that_servers_affair(
    cancelled: list[Any], told: list[Any], elsewhere: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "_ANSWER_SECONDS", 60)
    presence.arrive(RUN)
    elsewhere.arrive(RUN)
    leave()
    await settled(presence, elsewhere)
    assert not cancelled
    assert told == [(readers_sought, str(RUN)), (readers_found, str(RUN))]
    assert not presence._abandoned and not presence._sought and elsewhere._abandoned == {RUN}
    # There the last reader takes it along, though it was not to by itself.
    leave(elsewhere, takes_run_along=False)
    await settled(presence, elsewhere)
    assert cancelled == INTERRUPTED


async def test_a_reader_that_comes_back_here_while_others_are_asked_keeps_the_run(
    cancelled: list[Any], told: list[Any]
) -> None:
    presence.arrive(RUN)
    leave()
    await until(lambda: told)
    presence.arrive(RUN)
    await settled()
    assert not cancelled and presence._abandoned == {RUN}


async def test_a_server_that_leaves_while_others_are_asked_cancels_nothing(
    cancelled: list[Any], told: list[Any]
) -> None:
    presence.arrive(RUN)
    leave()
    await until(lambda: told)
    current_hub().cut()
    await settled()
    assert not cancelled


async def test_an_outage_only_delays_the_end_of_a_run_without_readers(
    cancelled: list[Any], told: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_RETRY_SECONDS", 0.01)
    outages = iter([OperationalError("away")] * 3)
    tell = presence.tell

    def tell_at_last(*news: Any) -> None:
        for outage in outages:
            raise outage
        tell(*news)

    monkeypatch.setattr(presence, "tell", tell_at_last)
    presence.arrive(RUN)
    leave()
    await settled()
    assert cancelled and not presence._sought


async def test_a_server_that_can_not_answer_goes_on(told: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(presence, "tell", fail)
    presence.arrive(RUN)
    readers_sought.send(sender=None, about=str(RUN))
    await settled()
    assert presence._readers == {RUN: 1}


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)
