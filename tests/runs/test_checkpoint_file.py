"""The file of checkpoints is made by whichever engine starts first, and engines start together."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from langgraph.checkpoint.sqlite import SqliteSaver

from runs.engine.storage import SqliteDatabase

ENGINES = 4


def test_engines_that_start_together_make_the_file_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    making = threading.Lock()
    set_up = SqliteSaver.setup

    def set_up_alone(store: SqliteSaver) -> None:
        # SQLite refuses one of two that switch a new file to WAL at once, whatever its timeout.
        assert making.acquire(blocking=False)
        set_up(store)
        making.release()

    monkeypatch.setattr(SqliteSaver, "setup", set_up_alone)
    for number in range(20):
        start = threading.Barrier(ENGINES)

        def make(path: Path = tmp_path / f"{number}.sqlite3", start: threading.Barrier = start) -> None:
            start.wait()
            SqliteDatabase(path).setup()

        with ThreadPoolExecutor(ENGINES) as engines:
            for made in [engines.submit(make) for _ in range(ENGINES)]:
                made.result()
