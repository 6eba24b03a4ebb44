"""The shared server and its client as Alice's browser has them: below `/api`. And the API in this process."""

from collections.abc import AsyncIterator

import httpx
import pytest
from rest_framework.test import APIClient

from accounts.models import User
from runs.models import Assistant
from tests.api.conftest import engine
from tests.e2e.server import Server
from tests.factories import api_client

__all__ = ["api", "engine", "http"]


@pytest.fixture
async def http(server: Server, key: str) -> AsyncIterator[httpx.AsyncClient]:
    """Of the shared server, as Alice."""
    async with httpx.AsyncClient(base_url=f"{server.url}/api", headers={"x-api-key": key}, timeout=60) as http:
        yield http


@pytest.fixture
def api(alice: User, acme: object, graphs: dict[str, Assistant]) -> APIClient:
    """Of this process, as Alice: it runs nothing."""
    return api_client(alice)
