"""The engine's pen: one thread that writes the records of all runs, as many at a time as have gathered.

A flush starts as soon as the last one has committed: an event of an idle engine waits for one commit, and under load
the batches grow by themselves. With FLUSH_SECONDS flushes are further apart, so that there are fewer of them.
"""

import asyncio
import logging
import queue
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable

from django.conf import settings
from django.db import Error, connection

from runs.database import in_database_at_last
from runs.lifecycle import Known, Outcome, Write, known_messages, torn, write
from runs.postgres import is_transient
from runs.records import Chunk, Record
from runs.tally import Tally

logger = logging.getLogger(__name__)

#: How many records of a run, and how many bytes, may wait before its graph has to.
ROOM_RECORDS = 2000
ROOM_BYTES = 8 * 1024 * 1024
#: What one flush takes of a run, in bytes but for the last record: a reader of its chunk holds it whole.
CHUNK_BYTES = 256 * 1024
_RETRY_SECONDS = 0.5


class Journal:
    """The records of one attempt on their way into the log. Used from the engine's loop."""

    def __init__(self, pen: "Pen", run_id: uuid.UUID, claim: uuid.UUID, thread_id: str) -> None:
        self.run_id = run_id
        self.claim = claim
        self.thread_id = thread_id
        #: Called on the loop when the claim was found to be another's.
        self.on_lost: Callable[[], None] = lambda: None
        self.lost = False
        self._pen = pen
        self._records: deque[Record] = deque()
        #: Bytes that were appended and bytes that are committed.
        self._appended = 0
        self._committed = 0
        self._queued = False
        self._outcome: Outcome | None = None
        self._tally: Tally | None = None
        #: Whether it was not handed to the pen yet.
        self._counted = False
        #: A record and the tally that counts it are taken together.
        self._counting = threading.Lock()
        self._flushed = asyncio.Event()

    def append(self, record: Record, tally: Tally | None = None) -> None:
        """Take a record, and the tally that counts it if it is counted.

        What messages count is written with the end: if that is not the graph's own, their rows are counted.
        """
        if tally is None:
            self._records.append(record)
        else:
            with self._counting:
                self._records.append(record)
                self._tally = tally
        self._appended += record.size
        self._queue()

    def note(self, tally: Tally) -> None:
        """Take what was counted by now, to be written soon: of a call of a model nothing else tells."""
        with self._counting:
            self._tally, self._counted = tally, True
        self._queue()

    async def known_messages(self) -> list[Known]:
        """What is kept of the thread's messages by now."""
        return await in_database_at_last(known_messages, self.thread_id)

    async def torn(self) -> list[Record]:
        """The ends of what stands open in the run's log."""
        return await in_database_at_last(torn, self.run_id)

    async def room(self) -> None:
        """Wait while too many records are on their way."""
        while self._is_full() and not self.lost:
            self._pen.hurry.set()
            self._flushed.clear()
            await self._flushed.wait()

    def _is_full(self) -> bool:
        return len(self._records) > ROOM_RECORDS or self._appended - self._committed > ROOM_BYTES

    async def finish(self, outcome: Outcome, tally: Tally) -> bool:
        """Write the outcome after all records. True when it was committed, False when the claim was lost."""
        with self._counting:
            self._outcome, self._tally = outcome, tally
        return await self.flush()

    async def flush(self) -> bool:
        """Wait until all that was appended is committed; False when the claim was lost."""
        self._queue()
        while (self._records or self._queued or self._outcome) and not self.lost:
            self._pen.hurry.set()
            self._flushed.clear()
            await self._flushed.wait()
        return not self.lost

    def _queue(self) -> None:
        if not self._queued:
            self._queued = True
            self._pen.queue.put(self)

    def take(self) -> Write:
        """What is to be written now. Called by the pen's thread."""
        records: list[Record] = []
        size = 0
        with self._counting:
            while self._records and size < CHUNK_BYTES:
                records.append(self._records.popleft())
                size += records[-1].size
            outcome = None if self._records else self._outcome
            tally = self._tally if self._counted or outcome else None
            self._counted = False
        return Write(self.run_id, self.claim, self.thread_id, records, outcome, tally)

    def written(self, item: Write, chunk: Chunk | None) -> None:
        """Called on the loop after the commit that held `item` as `chunk`; None when the claim was lost."""
        if item.outcome:
            self._outcome = None
        self._committed += sum(record.size for record in item.records)
        self._queued = False
        if chunk is None:
            self.lost = True
            self.on_lost()
        elif self._records or self._outcome or self._counted:
            self._queue()
        self._flushed.set()


class Pen:
    """The writing thread. It never gives up on a batch: while the database does not take it, runs wait."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.queue: queue.SimpleQueue[Journal | None] = queue.SimpleQueue()
        #: Somebody waits for the next flush.
        self.hurry = threading.Event()
        self._flushed_at = 0.0
        self._loop = loop
        self._thread = threading.Thread(target=self._run, name="pen", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Write what was queued, and end."""
        self.queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (journals := self._gather()) is not None:
            batch = [journal.take() for journal in journals]
            chunks = self._write(batch)
            self._loop.call_soon_threadsafe(_tell, journals, batch, chunks)
        connection.close()

    def _gather(self) -> list[Journal] | None:
        """All journals that have something to write; None at the end."""
        first = self.queue.get()
        if first is None:
            return None
        self._rest()
        journals = [first]
        while not self.queue.empty():
            journal = self.queue.get()
            if journal is None:
                self.queue.put(None)
                break
            journals.append(journal)
        return journals

    def _rest(self) -> None:
        """Let more gather until FLUSH_SECONDS after the last flush, unless somebody waits for this one."""
        pause = self._flushed_at + settings.FLUSH_SECONDS - time.monotonic()
        if pause > 0:
            self.hurry.wait(pause)
        self.hurry.clear()
        self._flushed_at = time.monotonic()

    def _write(self, batch: list[Write]) -> list[Chunk | None]:
        again = False
        while True:
            try:
                return write(batch, again=again)
            except Exception as exc:  # what graphs emit is in it; one of them must not stop all
                if isinstance(exc, Error) and is_transient(exc):
                    logger.warning("the log could not be written; trying again: %s", exc)
                    connection.close()
                    time.sleep(_RETRY_SECONDS)
                    again = True
                    continue
                if len(batch) > 1:
                    return [chunk for item in batch for chunk in self._write([item])]
                # Writing it again would fail again; without a lease the run is taken up from its last checkpoint.
                logger.exception("events of run %s could not be written", batch[0].run_id)
                return [None]


def _tell(journals: list[Journal], batch: list[Write], chunks: list[Chunk | None]) -> None:
    for journal, item, chunk in zip(journals, batch, chunks, strict=True):
        journal.written(item, chunk)
