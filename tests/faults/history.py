"""What happened, as the rig saw it from outside: the operations of clients, what they read, faults and samples.

All times are seconds of the wall clock, which clients, graphs and the database share here.
"""

import itertools
import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

#: "ok": 2xx. "fail": 4xx, it has not happened. "info": nobody knows, because the answer was cut or is a 5xx.
Result = Literal["invoked", "ok", "fail", "info"]


@dataclass
class Op:
    """One request of one client, from when it was sent to when its answer was complete."""

    number: int
    client: str
    kind: str
    begin: float
    end: float = 0.0
    result: Result = "invoked"
    #: The HTTP status; 0 when no answer began.
    status: int = 0
    thread_id: str = ""
    run_id: str = ""
    #: Whether the answer said when to come back.
    retry_after: bool = False
    #: The Idempotency-Key that it came with.
    key: str = ""
    #: Of a cancellation: what is to become of what the run did.
    action: str = ""
    #: Of a request for several runs: what the answer names.
    made: list[str] = field(default_factory=list)
    #: What may help a person: the body of a refusal, the error of a connection.
    note: str = ""


@dataclass(frozen=True)
class Frame:
    """One event of a stream: its bytes without the line end that closes it, and the id and name that they carry."""

    id: int | None
    name: str
    data: bytes


@dataclass
class Reading:
    """What one client collected of one run, over all connections that it took."""

    client: str
    thread_id: str
    run_id: str = ""
    #: The cursor it began with; None: the run's first event.
    after: int | None = None
    frames: list[Frame] = field(default_factory=list)
    connections: int = 0
    #: Whether it got to `end`.
    ended: bool = False
    #: Connections that ended by their own account, as if complete, without an `end`.
    false_ends: int = 0
    #: Why its client gave up, if it did.
    failed: str = ""


@dataclass
class Fault:
    """Something that was broken on purpose, and mended at `end`. `pids` are those that died of it."""

    kind: str
    victim: str
    begin: float
    end: float = 0.0
    pids: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Sample:
    """The runs of a thread and their status, in one answer of the server."""

    time: float
    thread_id: str
    runs: dict[str, str]


@dataclass(frozen=True)
class News:
    """One message to the receiver of webhooks, and what it answered: "accept" is 200."""

    time: float
    message_id: str
    #: Whether the library of Standard Webhooks took its signature for good.
    signed: bool
    body: bytes
    run_id: str
    thread_id: str
    status: str
    answer: str


class History:
    """Everything that was seen, in order; operations are also written to a file as they end."""

    def __init__(self, path: Path) -> None:
        self.ops: list[Op] = []
        self.readings: list[Reading] = []
        self.watches: list[Reading] = []
        self.faults: list[Fault] = []
        self.samples: list[Sample] = []
        self.news: list[News] = []
        #: Threads that a client deleted, or tried to.
        self.deleted: set[str] = set()
        self._numbers = itertools.count(1)
        self._file = path.open("w")

    def invoke(self, client: str, kind: str, thread_id: str = "", run_id: str = "") -> Op:
        op = Op(next(self._numbers), client, kind, time.time(), thread_id=thread_id, run_id=run_id)
        self.ops.append(op)
        return op

    def answered(self, op: Op, status: int, *, note: str = "", retry_after: bool = False) -> None:
        """The answer to `op` is complete."""
        op.status, op.note, op.retry_after = status, note, retry_after
        self._close(op, "ok" if status < 400 else "fail" if status < 500 else "info")

    def lost(self, op: Op, why: object) -> None:
        """The answer to `op` did not come, or not to its end."""
        op.note = repr(why)
        self._close(op, "info")

    def broken(self, kind: str, victim: str, pids: set[int] | None = None) -> Fault:
        fault = Fault(kind, victim, time.time(), pids=sorted(pids or ()))
        self.faults.append(fault)
        return fault

    def mended(self, fault: Fault) -> None:
        fault.end = time.time()
        self.note({"fault": asdict(fault)})

    def told(self, news: News) -> None:
        """A message came to the receiver of webhooks."""
        self.news.append(news)
        about = asdict(news)
        del about["body"]
        self.note({"news": about})

    def note(self, what: Any) -> None:
        self._file.write(json.dumps(what) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _close(self, op: Op, result: Result) -> None:
        op.end, op.result = time.time(), result
        self.note({"op": asdict(op)})
