"""News for all processes: heard when the transaction has committed, however the listener's connection fares."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction

from runs import signals
from runs.database import in_database
from runs.news import CHANNEL, listen, tell
from runs.postgres import connection_parameters
from tests.fakes import heard

pytestmark = pytest.mark.django_db(transaction=True)
many_machines = pytest.mark.many_machines

MISSED = ("runs_pending", "cancel_requested", "threads_deleted")


def test_news_go_out_with_the_commit() -> None:
    with heard(signals.runs_pending) as sendings:
        with transaction.atomic():
            tell(signals.runs_pending, "it")
            before = list(sendings)
        tell(signals.runs_pending)
    assert not before
    assert [sending["about"] for sending in sendings] == ["it", ""]


def test_news_of_what_was_undone_do_not_go_out() -> None:
    with heard(signals.runs_pending) as sendings:
        with contextlib.suppress(ZeroDivisionError), transaction.atomic():
            tell(signals.runs_pending)
            raise ZeroDivisionError
        with transaction.atomic(), contextlib.suppress(ZeroDivisionError), transaction.atomic():
            tell(signals.runs_pending, "undone")
            raise ZeroDivisionError
    assert not sendings


@pytest.mark.one_machine
async def test_on_one_machine_there_is_nobody_to_listen_to() -> None:
    await asyncio.wait_for(listen(), 5)


class Ears:
    """What this process's receivers heard, in order: the signal's name, and what it was about."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []
        self._news = asyncio.Event()

    def hear(self, name: str, about: str) -> None:
        self.heard.append((name, about))
        self._news.set()

    async def until(self, *wanted: tuple[str, str]) -> None:
        """Wait until the last that was heard is this."""
        async with asyncio.timeout(20):
            while tuple(self.heard[-len(wanted) :]) != wanted:
                self._news.clear()
                await self._news.wait()


@pytest.fixture
def _receivers() -> Iterator[list[Any]]:
    connected: list[Any] = []
    yield connected
    for signal, receiver in connected:
        signal.disconnect(receiver)


@pytest.fixture
async def ears(_receivers: list[Any], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ears]:
    """A process that listens; it has come so far."""
    monkeypatch.setattr("runs.news._PAUSE_SECONDS", 0.01)
    ears = Ears()
    for name in (*MISSED, "readers_sought"):

        def receive(about: str, name: str = name, **_: object) -> None:
            ears.hear(name, about)

        signal = getattr(signals, name)
        signal.connect(receive, weak=False)
        _receivers.append((signal, receive))
    listening = asyncio.create_task(listen())
    await ears.until(*((name, "") for name in MISSED))
    yield ears
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


@contextlib.contextmanager
def another() -> "Iterator[psycopg.Connection[Any]]":
    with psycopg.connect(**connection_parameters("tests"), autocommit=True) as other:
        yield other


def notify(payload: str) -> None:
    with another() as other:
        other.execute("SELECT pg_notify(%s, %s)", [CHANNEL, payload])


@many_machines
async def test_what_is_told_in_a_transaction_is_heard_after_its_commit(ears: Ears) -> None:
    told, may_commit = threading.Event(), threading.Event()

    def tell_in_transaction() -> None:
        with transaction.atomic():
            tell(signals.cancel_requested, "first")
            told.set()
            may_commit.wait(20)

    telling = asyncio.create_task(in_database(tell_in_transaction))
    await asyncio.to_thread(told.wait, 20)
    await in_database(tell, signals.cancel_requested, "second")
    await ears.until(("cancel_requested", "second"))
    assert ("cancel_requested", "first") not in ears.heard
    may_commit.set()
    await telling
    await ears.until(("cancel_requested", "second"), ("cancel_requested", "first"))


@many_machines
async def test_what_was_undone_is_never_heard(ears: Ears) -> None:
    def undo() -> None:
        with contextlib.suppress(ZeroDivisionError), transaction.atomic():
            tell(signals.cancel_requested, "undone")
            raise ZeroDivisionError

    await in_database(undo)
    await in_database(tell, signals.cancel_requested, "done")
    await ears.until(("cancel_requested", "done"))
    assert ("cancel_requested", "undone") not in ears.heard


@many_machines
async def test_a_listener_that_lost_its_connection_asks_for_what_it_missed(ears: Ears) -> None:
    for _ in range(2):
        del ears.heard[:]
        await in_database(cut_off)
        await ears.until(*((name, "") for name in MISSED))
        await in_database(tell, signals.threads_deleted, "again")
        await ears.until(("threads_deleted", "again"))
        assert ears.heard == [*((name, "") for name in MISSED), ("threads_deleted", "again")]


def cut_off() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'deerflow news'"
        )
        assert cursor.fetchone() == (1,)


@many_machines
@pytest.mark.parametrize("payload", ["nonsense x", "", " ", "pendings", "Pending x"])
async def test_an_unknown_topic_is_ignored(ears: Ears, payload: str) -> None:
    del ears.heard[:]
    notify(payload)
    notify("pending a b")
    await ears.until(("runs_pending", "a b"))
    assert ears.heard == [("runs_pending", "a b")]


@many_machines
async def test_a_receiver_that_fails_disturbs_nobody(ears: Ears, _receivers: list[Any]) -> None:
    def fail(**_: object) -> None:
        raise ZeroDivisionError

    signals.runs_pending.connect(fail, weak=False)
    _receivers.append((signals.runs_pending, fail))
    # Receivers are called in the order in which they came: one after the one that fails.
    late = asyncio.Event()

    def after(**_: object) -> None:
        late.set()

    signals.runs_pending.connect(after, weak=False)
    _receivers.append((signals.runs_pending, after))
    del ears.heard[:]
    notify("pending one")
    notify("cancel two")
    await ears.until(("runs_pending", "one"), ("cancel_requested", "two"))
    assert late.is_set() and len(ears.heard) == 2
