"""The writing thread of a store: all that has gathered while it committed is its next transaction."""

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

from runs.engine.storage.database import Database, Session
from runs.engine.storage.fence import StaleAttempt, Writer

logger = logging.getLogger(__name__)

R = TypeVar("R")

_RETRY_SECONDS = 0.5

#: What a piece came to: its result, or what it raised.
_Answer = tuple[Any, BaseException | None]


class _Piece(NamedTuple):
    """Work that is done in a transaction in which `writer` may write. May be done again when a commit failed."""

    writer: Writer | None
    work: Callable[[Session], Any]
    future: "Future[Any]"
    #: Whether it makes `writer` the one who may write.
    begins: bool


class CheckpointPen:
    """Never gives up on what the database does not take: its writers wait."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._session: Session | None = None
        self._queue: queue.SimpleQueue[_Piece | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpoint-pen", daemon=True)
        self._thread.start()

    def submit(
        self, work: Callable[[Session], R], *, writer: Writer | None = None, begins: bool = False
    ) -> "Future[R]":
        """Do `work` in a transaction; the future is done after its commit, or has what `work` raised.

        StaleAttempt when `writer` may not write.
        """
        future: Future[R] = Future()
        self._queue.put(_Piece(writer, work, future, begins))
        return future

    def begin(self, writer: Writer) -> "Future[bool]":
        """Let `writer` write and nobody before it. Answers whether its thread surely has no checkpoint yet."""
        return self.submit(lambda _: False, writer=writer, begins=True)

    def stop(self) -> None:
        """Write what was handed in, and end; what the database does not take now is given up."""
        self._closing.set()
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (piece := self._queue.get()) is not None:
            batch = [piece]
            while not self._queue.empty() and (piece := self._queue.get()) is not None:
                batch.append(piece)
            self._commit(batch)
            if piece is None:
                break
        if self._session:
            self._session.close()

    def _commit(self, batch: Sequence[_Piece]) -> None:
        # Whoever was cancelled while it waited does not wait any more; from here on nobody can be.
        batch = [piece for piece in batch if piece.future.set_running_or_notify_cancel()]
        for piece, (result, error) in zip(batch, self._persist(batch), strict=True):
            if error:
                piece.future.set_exception(error)
            else:
                piece.future.set_result(result)

    def _persist(self, batch: Sequence[_Piece]) -> Sequence[_Answer]:
        while True:
            try:
                self._session = self._session or self._database.connect()
                return self._write(self._session, batch)
            except Exception as exc:
                if not self._database.is_transient(exc):
                    raise
                if self._closing.is_set():
                    return [(None, exc)] * len(batch)
                logger.warning("checkpoints could not be written; trying again: %s", exc)
                if self._session:
                    self._session.close()
                    self._session = None
                self._closing.wait(_RETRY_SECONDS)

    def _write(self, session: Session, batch: Sequence[_Piece]) -> Sequence[_Answer]:
        try:
            return self._together(session, batch)
        except Exception as exc:  # somebody may not write, or whatever a value's serialization raises
            if self._database.is_transient(exc):
                raise
            return [self._alone(session, piece) for piece in batch]

    def _together(self, session: Session, batch: Sequence[_Piece]) -> list[_Answer]:
        """As is almost always possible: all may write, and nothing fails."""
        with session.transaction():
            empty = session.raise_fences([piece.writer for piece in batch if piece.begins and piece.writer])
            answers: list[_Answer] = [(self._do(session, piece, empty), None) for piece in batch]
            # Last, so that rows of runs are held for as short as can be.
            session.demand({piece.writer for piece in batch if piece.writer})
            return answers

    def _alone(self, session: Session, piece: _Piece) -> _Answer:
        try:
            with session.transaction():
                empty = session.raise_fences([piece.writer]) if piece.begins and piece.writer else set()
                if piece.writer and not session.holds(piece.writer):
                    raise StaleAttempt
                return self._do(session, piece, empty), None
        except Exception as exc:  # as above: it is this writer's
            if self._database.is_transient(exc):
                raise
            return None, exc

    def _do(self, session: Session, piece: _Piece, empty: set[str]) -> Any:
        if piece.begins and piece.writer:
            return piece.writer.thread_id in empty
        return piece.work(session)
