import pytest
from rest_framework.test import APIClient

from accounts.models import User
from runs.models import Assistant, Thread
from tests.api.commanding import ASK, waits
from tests.api.engine import FakeEngine, installed
from tests.factories import api_client, make_thread, tenant_of


@pytest.fixture
def client(alice: User, acme: object, graphs: dict[str, Assistant]) -> APIClient:
    """Alice's, of a server that has the tests' graphs."""
    return api_client(alice)


@pytest.fixture
def engine():
    with installed(FakeEngine()) as engine:
        yield engine


@pytest.fixture
def thread(alice: User, acme: object) -> Thread:
    return make_thread(tenant_of(alice))


@pytest.fixture
def waiting(alice: User, acme: object, graphs: object) -> Thread:
    """A thread whose last run has come to one interrupt."""
    return waits(alice, ASK)
