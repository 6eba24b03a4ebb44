"""What the checkpointer and the store ask of a database; one adapter for each, held to the same contract by tests."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, NamedTuple

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.store.base import Op, Result
from langgraph.store.postgres import PostgresStore
from langgraph.store.sqlite import SqliteStore

from runs.engine.storage.fence import Writer
from runs.engine.storage.index import KnownVectors, Vectors

#: Under which LangGraph keeps what no task wrote, and the channel of answers to interrupts.
NULL_TASK_ID = "00000000-0000-0000-0000-000000000000"
RESUME = "__resume__"
#: The key in a checkpoint's metadata when a channel keeps only what each step added to it.
DELTAS = "counters_since_delta_snapshot"


#: How many and how many bytes, by channel.
Measures = dict[str, tuple[int, int]]


class Usage(NamedTuple):
    """What a thread takes up: counts, with bytes."""

    checkpoints: tuple[int, int]
    #: What checkpoints hold; in SQLite of the latest one, and not counted in `checkpoints` then.
    channel_values: Measures
    pending_writes: Measures


class Unprunable(Exception):
    """The latest state of the thread is made of all those before it."""


#: Where an item is: its namespace, as it is stored, and its key.
Place = tuple[str, str]


class Session(ABC):
    """One connection, used by one thread at a time."""

    #: LangGraph's own saver on this connection; it writes in the transaction that is open.
    saver: BaseCheckpointSaver[Any]
    #: LangGraph's own store on this connection; as well.
    store: SqliteStore | PostgresStore

    def items(self, ops: Sequence[Op], vectors: Vectors) -> list[Result]:
        """Do `ops` on the store; `vectors` are those of all texts that they write or look for by meaning."""
        self.store.embeddings = KnownVectors(vectors)
        return self.store.batch(ops)

    @abstractmethod
    def expiring(self, places: Collection[Place]) -> list[Place]:
        """Those of these items that have a lifetime."""

    @abstractmethod
    def renew(self, places: Collection[Place]) -> None:
        """Let the lifetimes of these items begin now."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[Any]:
        """Commits at its end, rolls back when it is left by an exception."""

    @abstractmethod
    def raise_fences(self, writers: Collection[Writer]) -> set[str]:
        """Let these write and nobody before them, unless a later one was there.

        Answers the threads that surely have no checkpoint yet.
        """

    @abstractmethod
    def demand(self, writers: Collection[Writer]) -> None:
        """Let the transaction fail unless all of these may write until its end; it may fail as late as that."""

    @abstractmethod
    def holds(self, writer: Writer) -> bool:
        """Whether this one may write; it stays so until the transaction ends."""

    @abstractmethod
    def drop_updates(self, thread_id: str, checkpoint_id: str) -> None:
        """Forget what no task wrote beside this checkpoint, but for answers to interrupts."""

    @abstractmethod
    def remember(self, writer: Writer, namespace: str, checkpoint_id: str) -> None:
        """Keep what is written beside this checkpoint, which another run made, until `roll_back` or the next run."""

    @abstractmethod
    def roll_back(self, writer: Writer) -> None:
        """Delete the checkpoints that this one's run made, and bring back what was beside those that it found."""

    @abstractmethod
    def drop_fence(self, thread_id: str) -> None:
        """Let nobody write to this thread any more."""

    @abstractmethod
    def copy_thread(self, source: str, target: str) -> None:
        """Let `target`, which has nothing, have all checkpoints and writes that `source` has."""

    @abstractmethod
    def keep_latest(self, thread_id: str) -> None:
        """Forget all checkpoints but the latest of each namespace that the latest state needs. Raises Unprunable."""

    @abstractmethod
    def usage(self, thread_id: str) -> Usage: ...

    @abstractmethod
    def close(self) -> None: ...


class NoVectors(Exception):
    """The database can not keep the vectors of an index; the message says what it lacks."""


class Database(ABC):
    """Where checkpoints and items are kept."""

    #: How many connections read at the same time.
    readers: ClassVar[int]

    @abstractmethod
    def is_transient(self, error: Exception) -> bool:
        """Whether the same work may succeed later."""

    @abstractmethod
    def setup(self) -> None:
        """Make what is missing. Processes that start together wait for each other. Raises NoVectors."""

    @abstractmethod
    def await_setup(self) -> None:
        """Wait until all is there, or make it where nobody else does."""

    @abstractmethod
    def asks_before(self, writer: Writer) -> bool:
        """Whether a fence has to be raised before this one writes; if not, its first write sees to everything."""

    @abstractmethod
    def connect(self) -> Session: ...
