"""Writers of the SQLite backend queue: everybody's turn comes, and whoever ends lets the next one go."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import IntegrityError, OperationalError, connections, transaction

ALIAS = "counter"
#: SQLite itself does not wait here: what makes a writer wait is the queue.
IMPATIENT = {
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA busy_timeout=0;",
}
PROGRAM = """
import json, sys
from django.conf import settings
database = {"ENGINE": "deerflow_site.sqlite", "NAME": sys.argv[1], "OPTIONS": json.loads(sys.argv[2])}
settings.configure(DATABASES={"default": database})
from django.db import connection, transaction
print("ready", flush=True)
sys.stdin.readline()
for _ in range(100):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT number FROM counter")
        cursor.execute("UPDATE counter SET number = %s", [cursor.fetchone()[0] + 1])
"""


class Refused(Exception):
    pass


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "counter.sqlite3"


@pytest.fixture
def configure(path: Path, django_db_blocker: Any) -> Iterator[Callable[..., None]]:
    """Make `ALIAS` a file with one table that holds one number."""

    def configure(timeout: float = 20, name: str = str(path)) -> None:
        options = {**IMPATIENT, "timeout": timeout}
        connections.databases[ALIAS] = {"ENGINE": "deerflow_site.sqlite", "NAME": name, "OPTIONS": options}
        connections.configure_settings(connections.databases)
        execute("CREATE TABLE counter (number INTEGER CHECK (number < 1000000))")
        execute("INSERT INTO counter VALUES (0)")

    with django_db_blocker.unblock():
        yield configure
        connections[ALIAS].close()
    del connections[ALIAS]
    del connections.databases[ALIAS]


def execute(statement: str, *params: Any) -> Any:
    with connections[ALIAS].cursor() as cursor:
        cursor.execute(statement, params)
        return cursor.fetchone() if cursor.description else None


def number() -> int:
    (found,) = execute("SELECT number FROM counter")
    return int(found)


def add() -> None:
    """Count one up: reading first, so that nobody may come between."""
    with transaction.atomic(ALIAS):
        execute("UPDATE counter SET number = %s", number() + 1)


def elsewhere(work: Callable[[], Any]) -> Any:
    """Do `work` in a thread with a connection of its own."""

    def do() -> Any:
        try:
            return work()
        finally:
            connections[ALIAS].close()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(do).result(10)


def test_threads_and_processes_write_at_once_without_losing_a_write(configure: Any, path: Path) -> None:
    configure()
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(path), json.dumps({**IMPATIENT, "timeout": 20})],
            cwd=settings.BASE_DIR,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    for program in programs:
        assert program.stdout is not None and program.stdout.readline() == b"ready\n"
        assert program.stdin is not None
        program.stdin.close()

    def work(_: int) -> None:
        for _ in range(25):
            add()
        connections[ALIAS].close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert [program.wait(20) for program in programs] == [0, 0]
    for program in programs:
        program.stdout.close()  # type: ignore[union-attr]
    assert number() == 400


def roll_back() -> None:
    with pytest.raises(Refused), transaction.atomic(ALIAS):
        execute("UPDATE counter SET number = 5")
        raise Refused


def fail_in_the_database() -> None:
    with pytest.raises(IntegrityError), transaction.atomic(ALIAS):
        execute("UPDATE counter SET number = 1000000")


def fail_to_commit() -> None:
    execute("CREATE TABLE child (parent INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)")
    execute("CREATE TABLE parents (id INTEGER PRIMARY KEY)")
    with pytest.raises(IntegrityError), transaction.atomic(ALIAS):
        execute("INSERT INTO child VALUES (7)")


def close_within() -> None:
    with transaction.atomic(ALIAS):
        execute("UPDATE counter SET number = 5")
        connections[ALIAS].close()


def fail_to_begin() -> None:
    execute("BEGIN")
    with pytest.raises(OperationalError), transaction.atomic(ALIAS):
        pass
    execute("ROLLBACK")


def nest() -> None:
    with transaction.atomic(ALIAS):
        with pytest.raises(Refused), transaction.atomic(ALIAS):
            raise Refused
        with pytest.raises(AssertionError):
            elsewhere_is_let_through()


def elsewhere_is_let_through() -> None:
    before = elsewhere(number)
    try:
        elsewhere(add)
    except OperationalError:
        raise AssertionError("another writer had to wait") from None
    assert elsewhere(number) == before + 1


@pytest.mark.parametrize(
    "end", [add, roll_back, fail_in_the_database, fail_to_commit, close_within, fail_to_begin, nest]
)
def test_however_a_transaction_ends_the_next_writer_goes(configure: Any, end: Callable[[], None]) -> None:
    configure(timeout=0.05)
    end()
    elsewhere_is_let_through()
    add()


def test_a_writer_waits_so_long_and_no_longer(configure: Any) -> None:
    configure(timeout=0.05)
    with transaction.atomic(ALIAS), pytest.raises(OperationalError, match="locked"):
        elsewhere(add)
    elsewhere(add)
    assert number() == 1


def test_a_waiting_writer_goes_as_soon_as_the_one_before_has_ended(configure: Any) -> None:
    configure()
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic(ALIAS):
            waiting = pool.submit(partial(elsewhere, add))
            assert number() == 0
        waiting.result(10)
    assert number() == 1


def test_readers_do_not_queue(configure: Any) -> None:
    configure(timeout=0.05)
    with transaction.atomic(ALIAS):
        execute("UPDATE counter SET number = 5")
        assert elsewhere(number) == 0


def test_a_closed_connection_leaves_no_file_open(configure: Any, path: Path) -> None:
    configure()

    def open_files() -> int:
        links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
        return sum(os.path.exists(link) and os.readlink(link) == f"{path}.queue" for link in links)

    before = open_files()
    for _ in range(3):
        elsewhere(add)
    assert open_files() == before == 1
    connections[ALIAS].close()
    assert open_files() == 0


def test_the_queue_file_is_its_owners(configure: Any, path: Path) -> None:
    configure()
    assert Path(f"{path}.queue").stat().st_mode & 0o777 == 0o600


def test_a_database_in_memory_has_no_queue(configure: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    configure(name=":memory:")
    add()
    assert number() == 1 and not list(tmp_path.iterdir())


def test_threads_are_let_in_one_by_one(configure: Any) -> None:
    configure()
    inside, most = 0, 0
    lock = threading.Lock()

    def work(_: int) -> None:
        nonlocal inside, most
        with transaction.atomic(ALIAS):
            with lock:
                inside += 1
                most = max(most, inside)
            execute("UPDATE counter SET number = number + 1")
            with lock:
                inside -= 1
        connections[ALIAS].close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))
    assert (most, number()) == (1, 40)
