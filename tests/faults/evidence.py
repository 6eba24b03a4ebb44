"""All that the checks look at: what was seen from outside, and what the system left behind."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.faults.history import Fault, Frame, News, Op, Reading, Sample

#: What a check yields: a sentence for each violation.
Found = Iterator[str]

TERMINAL = frozenset({"success", "error", "interrupted", "timeout"})


@dataclass(frozen=True)
class RunRow:
    run_id: str
    thread_id: str
    status: str
    position: int
    attempt: int
    #: When it ended; 0 when it has not.
    ended_at: float
    cancel_action: str = ""
    error: dict[str, str] | None = None
    #: The plan of the stress graph; None for a run that answers an interrupt.
    plan: dict[str, Any] | None = field(default_factory=dict)
    durability: str = "async"
    #: When its last attempt began; 0 when none did.
    started_at: float = 0.0
    strategy: str = "enqueue"
    #: The thread's last event when it was created.
    after_seq: int = 0
    #: What a run that answers an interrupt says.
    answer: str | None = None
    #: Whether somebody is to be told of its end.
    has_webhook: bool = False
    #: The Idempotency-Key that it came with, and its place among the runs of that request.
    key: str = ""
    part: int = 0
    parts: int = 1

    @property
    def rolled_back(self) -> bool:
        return self.cancel_action == "rollback" and self.status in TERMINAL


@dataclass(frozen=True)
class Event:
    """One record of the log.

    `data` is parsed for those that tell of the run itself, and None for the others; `attempt` is known of those by
    which a graph speaks, and 0 for the others.
    """

    thread_id: str
    run_id: str
    seq: int
    method: str
    data: Any = None
    attempt: int = 0


@dataclass(frozen=True)
class ChunkRow:
    thread_id: str
    run_id: str
    first_seq: int
    last_seq: int
    events: tuple[Event, ...]


@dataclass(frozen=True)
class CheckpointRow:
    """A checkpoint of a root graph, and the attempt that wrote it."""

    thread_id: str
    checkpoint_id: str
    parent_id: str | None
    run_id: str
    attempt: int
    source: str


@dataclass(frozen=True)
class ThreadRow:
    thread_id: str
    status: str
    last_seq: int
    #: As its row has them: JSON.
    values: dict[str, Any] = field(default_factory=dict)
    interrupts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StateRow:
    """What the latest checkpoint of a thread holds, read with LangGraph's own saver."""

    thread_id: str
    run_id: str
    values: dict[str, Any]
    #: What was written beside it, by channel.
    pending: frozenset[str] = frozenset()


@dataclass(frozen=True)
class DeliveryRow:
    delivery_id: str
    run_id: str
    status: str


@dataclass(frozen=True)
class MessageRow:
    run_id: str
    thread_id: str
    message_id: str


@dataclass
class Dump:
    """What is in the databases when everything has stopped."""

    threads: dict[str, ThreadRow] = field(default_factory=dict)
    runs: dict[str, RunRow] = field(default_factory=dict)
    chunks: list[ChunkRow] = field(default_factory=list)
    checkpoints: list[CheckpointRow] = field(default_factory=list)
    states: dict[str, StateRow] = field(default_factory=dict)
    deliveries: list[DeliveryRow] = field(default_factory=list)
    messages: list[MessageRow] = field(default_factory=list)


@dataclass
class Evidence:
    ops: list[Op] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    #: What clients of the Agent Streaming Protocol collected, each event by its `event_id` and once.
    watches: list[Reading] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    #: What the receiver of webhooks got, in order.
    news: list[News] = field(default_factory=list)
    deleted: set[str] = field(default_factory=set)
    #: Lines of the ledger, in the order in which they were written.
    ledger: list[dict[str, Any]] = field(default_factory=list)
    dump: Dump = field(default_factory=Dump)
    #: Each run's stream, read from its beginning when all was over.
    rereads: dict[str, list[Frame]] = field(default_factory=dict)
    #: The events of each thread that was watched, read from the first on when all was over.
    rewatched: dict[str, list[Frame]] = field(default_factory=dict)
    #: Processes of the system that were alive after its end, as a person would want to see them.
    leftovers: list[str] = field(default_factory=list)
    #: Processes that did not end as asked: what they are, and their exit codes.
    bad_exits: list[str] = field(default_factory=list)
    #: Clients whose operation did not come to an end when all faults were over.
    stuck_clients: int = 0
    #: What was waited for in vain, if anything was: an answer, the end of runs.
    restless: str = ""
    #: Most connections to PostgreSQL at one time; 0 where there is none.
    connections: int = 0
    max_connections: int = 0
    #: Seconds within which a run that lost its process must show life again.
    recovery_bound: float = 18.0
    #: Seconds after the end of a fault in which a 503 is still its consequence.
    aftermath: float = 15.0

    def lines_by_run(self) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for line in self.ledger:
            found.setdefault(line["run_id"], []).append(line)
        return found

    def runs_by_thread(self) -> dict[str, list[RunRow]]:
        """The runs of each thread, in their order."""
        found: dict[str, list[RunRow]] = {}
        for run in sorted(self.dump.runs.values(), key=lambda run: run.position):
            found.setdefault(run.thread_id, []).append(run)
        return found

    def events_by_thread(self) -> dict[str, list[Event]]:
        found: dict[str, list[Event]] = {}
        for chunk in sorted(self.dump.chunks, key=lambda chunk: chunk.first_seq):
            found.setdefault(chunk.thread_id, []).extend(chunk.events)
        return found

    def events_by_run(self) -> dict[str, list[Event]]:
        found: dict[str, list[Event]] = {}
        for events in self.events_by_thread().values():
            for event in events:
                found.setdefault(event.run_id, []).append(event)
        return found
