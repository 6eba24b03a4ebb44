"""The SQLite backend of one machine, whose processes and threads all write.

SQLite lets a writer that finds the file locked sleep and look again, ever longer, up to a tenth of a second: with
transactions of half a millisecond most of the time would be slept away. Here writers queue before they begin, in this
process for a lock and between processes for `flock`, and each is woken as soon as the one before it has ended. SQLite's
own lock stays what keeps the file right; programs that do not queue are still waited for.
"""

import contextlib
import fcntl
import os
import threading
import weakref
from collections import defaultdict
from typing import Any

from django.db.backends.sqlite3 import base
from django.db.utils import OperationalError

_queues: "weakref.WeakSet[_Queue]" = weakref.WeakSet()
_in_process: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


class DatabaseWrapper(base.DatabaseWrapper):
    """Queues for a transaction's whole life, from BEGIN IMMEDIATE to its commit or rollback."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._queue = _Queue()

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        self._queue.join(str(conn_params["database"]), float(conn_params.get("timeout", 20)))
        return super().get_new_connection(conn_params)

    def _start_transaction_under_autocommit(self) -> None:
        self._queue.wait()
        try:
            super()._start_transaction_under_autocommit()  # type: ignore[misc]
        except BaseException:
            self._queue.leave()
            raise

    def _commit(self) -> None:
        super()._commit()  # type: ignore[misc]
        self._queue.leave()

    def _rollback(self) -> None:
        try:
            super()._rollback()  # type: ignore[misc]
        finally:
            self._queue.leave()

    def _close(self) -> None:
        try:
            super()._close()  # type: ignore[misc]
        finally:
            self._queue.close()


def _make(database: str) -> None:
    """Make the file for its owner alone; SQLite would let everybody read it, and those beside it.

    Never open one that is there: closing it would drop the locks that SQLite holds on it in this process.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


class _Queue:
    """One connection's place among the writers of a database file."""

    def __init__(self) -> None:
        self._lock: threading.Lock | None = None
        self._file: int | None = None
        self._timeout = 0.0
        self._mine = False
        _queues.add(self)

    def join(self, database: str, timeout: float) -> None:
        """A database in memory has no file, and no writers but its own."""
        if os.path.isabs(database):
            _make(database)
            self._lock = _in_process[database]
            self._file = os.open(f"{database}.queue", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._timeout = timeout

    def wait(self) -> None:
        if self._lock is None or self._file is None or self._mine:
            return
        if not self._lock.acquire(timeout=self._timeout):
            raise OperationalError("database is locked")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)
        except OSError as exc:
            self._lock.release()
            raise OperationalError("database is locked") from exc
        self._mine = True

    def leave(self) -> None:
        if self._mine and self._lock is not None and self._file is not None:
            self._mine = False
            fcntl.flock(self._file, fcntl.LOCK_UN)
            self._lock.release()

    def close(self) -> None:
        self.leave()
        if self._file is not None:
            os.close(self._file)
            self._lock = self._file = None

    def forget(self) -> None:
        """In a forked process: let go of the file without a word, so that the lock ends with its holder."""
        if self._file is not None:
            os.close(self._file)
        self._lock = self._file = None
        self._mine = False


def _forget_all() -> None:
    for queue in list(_queues):
        queue.forget()


os.register_at_fork(after_in_child=_forget_all)
