"""The reading threads of a store, each with a connection of its own."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from runs.engine.storage.database import Database, Session

logger = logging.getLogger(__name__)

R = TypeVar("R")

_RETRY_SECONDS = 0.5


class Readers:
    """While the database does not answer, whoever reads waits for it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._threads = ThreadPoolExecutor(database.readers, thread_name_prefix="checkpoint-reads")
        self._local = threading.local()
        self._sessions: set[Session] = set()
        self._closing = threading.Event()

    def submit(self, work: Callable[[Session], R]) -> Future[R]:
        return self._threads.submit(self._read, work)

    def close(self) -> None:
        self._closing.set()
        self._threads.shutdown(cancel_futures=True)
        for session in self._sessions:
            session.close()

    def _read(self, work: Callable[[Session], R]) -> R:
        while True:
            try:
                return work(self._session())
            except Exception as exc:
                if not self._database.is_transient(exc):
                    raise
                if self._closing.is_set():
                    raise
                logger.warning("checkpoints could not be read; trying again: %s", exc)
                self._forget_session()
                self._closing.wait(_RETRY_SECONDS)

    def _session(self) -> Session:
        session: Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = self._database.connect()
            self._sessions.add(session)
        return session

    def _forget_session(self) -> None:
        session: Session | None = getattr(self._local, "session", None)
        if session is not None:
            self._local.session = None
            self._sessions.discard(session)
            session.close()
