import pytest
from rest_framework.test import APIClient

from accounts.models import User
from runs.models import Assistant
from tests.api.engine import FakeEngine, installed
from tests.factories import api_client


@pytest.fixture
def client(alice: User, acme: object, graphs: dict[str, Assistant]) -> APIClient:
    """Alice's, of a server that has the tests' graphs."""
    return api_client(alice)


@pytest.fixture
def engine():
    with installed(FakeEngine()) as engine:
        yield engine
