from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from django.conf import settings

from accounts.models import User
from runs.engine.storage import FencedSaver, open_saver
from tests.contracts.benches import Bench, PostgresBench, SqliteBench
from tests.factories import tenant_of


@pytest.fixture
def bench(tmp_path: Path, charlie: User) -> Bench:
    """The database of this run of the tests."""
    return PostgresBench(tenant_of(charlie)) if settings.POSTGRES else SqliteBench(tmp_path / "checkpoints.sqlite3")


@pytest.fixture
async def saver(bench: Bench) -> AsyncIterator[FencedSaver]:
    async with open_saver(bench.database) as saver:
        yield saver
