"""The cast: Alice owns acme, Bob is a member of it, Charlie owns other. Rows come from `tests.factories`."""

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import hypothesis
import pytest
from channels.layers import channel_layers
from django.conf import settings
from django.db import connections
from xdist.scheduler import LoadFileScheduling

from accounts.models import Organization, Role, User
from accounts.services import add_member, create_organization
from runs.database import _command_threads, _lease_threads, _threads
from runs.host.chores import register_graphs
from runs.log import Hub, current_hub
from runs.models import Assistant

hypothesis.settings.register_profile("tests", deadline=None, database=None)
hypothesis.settings.load_profile("tests")

pytest_plugins = ["tests.e2e.servers"]

#: For each graph that the tests' rows name, why it can not run; empty when it can.
GRAPHS = {"echo": "", "stress": "", "broken": "ModuleNotFoundError: No module named 'nowhere'"}

#: Tests that share nothing with those of their file.
_ALONE = "tests/faults/test_faults.py"
#: What takes longest, and mostly waits: it begins first, so that it does not end alone.
_LONG = (_ALONE, "tests/e2e/", "tests/behaviours/")
#: Tests that have their database of Django, if any.
_OF_DJANGO = ("tests/accounts/", "tests/runs/", "tests/api/", "tests/test_tenancy.py")
_DATABASE_FIXTURES = frozenset({"db", "transactional_db"})


class Scheduling(LoadFileScheduling):
    """For several workers: one has all tests of a file, and so starts the servers that they share once."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if nodeid.startswith(_ALONE) else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling | None:
    """Unless another way than the usual one was asked for."""
    if config.getvalue("dist") != "load":
        return None
    config.option.loadscopereorder = False
    return Scheduling(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not item.nodeid.startswith(_LONG))
    _leave_out(config, items, _asks_no_database if settings.POSTGRES else _needs_postgres)


def _needs_postgres(item: pytest.Item) -> bool:
    """Nothing is left to be skipped: what holds there only is not asked for."""
    return item.get_closest_marker("many_machines") is not None


def _asks_no_database(item: pytest.Item) -> bool:
    """Whether a test would tell the same there as it has told of SQLite."""
    if not item.nodeid.startswith(_OF_DJANGO) or item.get_closest_marker("many_machines"):
        return False
    fixtures: list[str] = getattr(item, "fixturenames", [])
    return item.get_closest_marker("django_db") is None and not _DATABASE_FIXTURES.intersection(fixtures)


def _leave_out(config: pytest.Config, items: list[pytest.Item], others: Callable[[pytest.Item], bool]) -> None:
    left_out = {item for item in items if others(item)}
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """At the end the database threads let go of the database, which can not be dropped before."""
    yield
    pools = (_threads, _lease_threads, _command_threads)
    together = threading.Barrier(sum(pool._max_workers for pool in pools))

    def leave() -> None:
        together.wait(10)
        connections.close_all()

    with django_db_blocker.unblock():
        for leaving in [pool.submit(leave) for pool in pools for _ in range(pool._max_workers)]:
            leaving.result()


@pytest.fixture
def alice(db: None) -> User:
    return User.objects.create_user("alice@acme.test")


@pytest.fixture
def acme(alice: User) -> Organization:
    return create_organization("acme", alice)


@pytest.fixture
def bob(acme: Organization) -> User:
    user = User.objects.create_user("bob@acme.test")
    add_member(acme, user, Role.MEMBER)
    return user


@pytest.fixture
def other(db: None) -> Organization:
    return create_organization("other", User.objects.create_user("charlie@other.test"))


@pytest.fixture
def charlie(other: Organization) -> User:
    return User.objects.get(email="charlie@other.test")


@pytest.fixture
def graphs(db: None) -> dict[str, Assistant]:
    """Rows for GRAPHS; answers their system assistants by graph."""
    register_graphs(GRAPHS)
    return {assistant.graph_id: assistant for assistant in Assistant.objects.all()}


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """The hub of the test's event loop, with a channel layer of its own."""
    channel_layers.backends.clear()
    hub = current_hub()
    yield hub
    await hub.stop()
