"""A database that is away: few ask it, and everybody is told to come back."""

import itertools
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
from django.db import InterfaceError, OperationalError, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import Client
from psycopg_pool import ConnectionPool
from rest_framework.test import APIClient

from accounts.models import User
from deerflow_site.postgres import base
from deerflow_site.postgres.base import _Checks, _Outage
from tests.api.routes import ROUTES, Route, send, title
from tests.api.rows import Rows, ids_of, make_rows
from tests.factories import api_client


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(base, "time", clock)
    return clock


# Who may ask.


def test_everybody_may_ask_a_database_that_answers(clock: Clock) -> None:
    outage = _Outage()
    for _ in range(3):
        assert [outage.may_try() for _ in range(5)] == [True] * 5
        outage.tell(answered=True)


def test_after_a_failure_nobody_asks_for_a_while_and_then_one_at_a_time(clock: Clock) -> None:
    outage = _Outage()
    for _ in range(3):
        assert outage.may_try()
        outage.tell(answered=False)
        clock.now += base._PAUSE_SECONDS * 0.9
        assert not outage.may_try()
        clock.now += base._PAUSE_SECONDS * 0.2
        assert [outage.may_try() for _ in range(3)] == [True, False, False]
        outage.tell(answered=False)
        clock.now += base._PAUSE_SECONDS * 1.1


def test_while_one_asks_the_others_are_refused_however_long_it_takes(clock: Clock) -> None:
    outage = _Outage()
    outage.tell(answered=False)
    clock.now += 2
    assert outage.may_try()
    clock.now += 60
    assert not outage.may_try()


def test_everybody_may_ask_again_when_one_was_answered(clock: Clock) -> None:
    outage = _Outage()
    outage.tell(answered=False)
    clock.now += 2
    assert outage.may_try() and not outage.may_try()
    outage.tell(answered=True)
    assert [outage.may_try() for _ in range(5)] == [True] * 5


@pytest.fixture
def wrapper(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Iterator[base.DatabaseWrapper]:
    """The backend, on a database that nothing of this process has asked yet."""
    monkeypatch.setattr(base, "_outage", _Outage())
    yield base.DatabaseWrapper.__new__(base.DatabaseWrapper)


def test_a_failure_to_connect_refuses_the_others_at_once(
    wrapper: base.DatabaseWrapper, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def connect(self: Any, parameters: Any) -> str:
        asked.append(parameters)
        if len(asked) < 3:
            raise OperationalError("refused" if len(asked) == 1 else "refused again")
        return "connection"

    monkeypatch.setattr(base.base.DatabaseWrapper, "get_new_connection", connect)

    def fails_with(sentence: str) -> None:
        with pytest.raises(OperationalError, match=f"^{sentence}$"):
            wrapper.get_new_connection({})

    fails_with("refused")
    for _ in range(5):
        fails_with("the database does not answer")
    assert len(asked) == 1
    clock.now += 2
    fails_with("refused again")
    fails_with("the database does not answer")
    clock.now += 2
    assert [wrapper.get_new_connection({}) for _ in range(3)] == ["connection"] * 3


def test_a_failure_of_any_kind_lets_the_next_one_try(
    wrapper: base.DatabaseWrapper, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: Any, parameters: Any) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(base.base.DatabaseWrapper, "get_new_connection", interrupt)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            wrapper.get_new_connection({})
        clock.now += 2


# Which connections are asked whether they live.


class Connection:
    """One of a pool's."""


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The connections that were asked whether they live."""
    asked: list[Any] = []
    monkeypatch.setattr(ConnectionPool, "check_connection", asked.append)
    return asked


def test_a_connection_is_asked_when_it_is_new_and_after_a_rest(clock: Clock, checked: list[Any]) -> None:
    checks, one, two = _Checks(), Connection(), Connection()
    checks(one)
    assert checked == [one]
    clock.now += base._FRESH_SECONDS * 0.9
    checks(one)
    checks(two)
    assert checked == [one, two]
    clock.now += base._FRESH_SECONDS * 0.9
    checks(one)
    assert checked == [one, two]
    clock.now += base._FRESH_SECONDS * 1.1
    checks(one)
    assert checked == [one, two, one]


def test_a_connection_that_is_dead_is_asked_each_time(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(connection: Any) -> None:
        raise OperationalError("gone")

    checks, connection = _Checks(), Connection()
    monkeypatch.setattr(ConnectionPool, "check_connection", fail)
    for _ in range(2):
        with pytest.raises(OperationalError):
            checks(connection)


def test_connections_that_are_gone_are_forgotten(clock: Clock, checked: list[Any]) -> None:
    checks, connection = _Checks(), Connection()
    checks(connection)
    del connection
    checked.clear()
    assert not checks._seen


@pytest.mark.many_machines
@pytest.mark.django_db
def test_the_pool_asks_through_these_checks() -> None:
    pool = connection.pool
    assert isinstance(pool._check, _Checks) and connection.pool._check is pool._check


# What those are answered who need it.


class Away:
    """The database, which answers until `failure` is set."""

    failure: Exception | None = None


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Away:
    away = Away()
    answered = BaseDatabaseWrapper._cursor  # type: ignore[attr-defined]

    def cursor(self: Any, name: str | None = None) -> Any:
        if away.failure:
            raise away.failure
        return answered(self, name)

    monkeypatch.setattr(BaseDatabaseWrapper, "_cursor", cursor)
    return away


def unavailable(response: Any) -> None:
    assert response.status_code == 503
    assert response.json() == {"detail": "The database does not answer; try again."}
    assert response.headers["Retry-After"] == "1"
    assert response.headers["Content-Type"].startswith("application/json")


FAILURES = [OperationalError("the password is hunter2"), InterfaceError("connection already closed")]
with_rows = pytest.mark.django_db(transaction=True)
failures = pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)


@pytest.fixture
def rows(alice: User, acme: object, graphs: object) -> Rows:
    return make_rows(alice, "word")


@with_rows
@pytest.mark.parametrize("route", ROUTES, ids=title)
def test_every_request_of_the_api_is_to_be_tried_again(alice: User, rows: Rows, away: Away, route: Route) -> None:
    client: APIClient = api_client(alice)
    client.raise_request_exception = False
    ids = ids_of(rows)
    for prefix, failure in itertools.product(route.prefixes, FAILURES):
        away.failure = failure
        unavailable(send(client, route, ids, prefix))


@with_rows
@failures
@pytest.mark.parametrize("path", ["/", "/admin/", "/admin/runs/run/"])
def test_every_page_is_to_be_tried_again(alice: User, away: Away, path: str, failure: Exception) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(alice)
    away.failure = failure
    unavailable(client.get(path))


@with_rows
@failures
def test_signing_in_is_to_be_tried_again(alice: User, away: Away, failure: Exception) -> None:
    client = Client(raise_request_exception=False)
    away.failure = failure
    unavailable(client.post("/admin/login/", {"username": alice.email, "password": "password"}))


@with_rows
@pytest.mark.parametrize("path", ["/ok", "/info", "/docs", "/openapi.json", "/admin/login/"])
def test_what_needs_no_rows_is_answered_all_the_same(away: Away, path: str) -> None:
    away.failure = FAILURES[0]
    assert Client().get(path).status_code == 200
