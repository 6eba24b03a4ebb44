from pathlib import Path

import pytest

from runs.engine.storage import SqliteDatabase, StaleAttempt, Writer, open_saver
from runs.fences import lower_fences


async def test_a_fence_that_is_ahead_of_the_database_is_lowered_for_the_next_attempt(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.sqlite3"
    async with open_saver(SqliteDatabase(path)) as saver:
        await saver.raise_fence(Writer("t", 7, 1))
    async with open_saver(SqliteDatabase(path)) as saver:
        with pytest.raises(StaleAttempt):
            await saver.raise_fence(Writer("t", 3, 2))
    lower_fences(path)
    async with open_saver(SqliteDatabase(path)) as saver:
        await saver.raise_fence(Writer("t", 3, 2))


def test_there_may_be_no_file_yet(tmp_path: Path) -> None:
    lower_fences(tmp_path / "checkpoints.sqlite3")

    assert not (tmp_path / "checkpoints.sqlite3").exists()
