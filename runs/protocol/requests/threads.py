"""Threads: made, changed and found."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, field_validator, model_validator

from runs.protocol import paths
from runs.protocol.requests.base import Body, Filter, Json, Metadata, Search, check_thread_id
from runs.protocol.requests.runs import CommandBody

#: Ten years.
_MAX_MINUTES = 10 * 366 * 24 * 60
#: Keys of metadata that say whose a thread is: only the server does.
_OWNERS = frozenset({"user_id", "owner_id"})
#: The key of metadata that has a thread shown before the others.
PINNED = "deerflow_pinned"

Minutes = Annotated[float, Field(gt=0, le=_MAX_MINUTES, allow_inf_nan=False)]
LifetimeStrategy = Literal["delete", "keep_latest"]


def without_owners(metadata: Json | None) -> Json:
    return {key: value for key, value in (metadata or {}).items() if key not in _OWNERS}


class Lifetime(Body):
    """After how many minutes without a change a thread is deleted, or loses all but its latest state."""

    ttl: Minutes
    strategy: LifetimeStrategy = "delete"


class Update(Body):
    """What a node wrote, or is to have written."""

    values: Json | Annotated[list[Json], Field(fail_fast=True)] | None = None
    command: CommandBody | None = None
    as_node: Annotated[str, StringConstraints(min_length=1, max_length=255)]

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if self.command is not None and self.values:
            raise ValueError("'values' and 'command' exclude each other")
        return self


class Superstep(Body):
    updates: Annotated[list[Update], Field(min_length=1, max_length=100, fail_fast=True)]


class ThreadCreate(Body):
    thread_id: str | None = None
    metadata: Metadata | None = None
    #: Kept in `metadata`.
    assistant_id: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    if_exists: Literal["raise", "do_nothing"] | None = None
    ttl: Minutes | Lifetime | None = None
    supersteps: Annotated[list[Superstep], Field(max_length=1000, fail_fast=True)] | None = None

    _thread_id = field_validator("thread_id")(check_thread_id)

    @property
    def about(self) -> Json:
        """The metadata that is kept."""
        named = {"assistant_id": self.assistant_id} if self.assistant_id else {}
        return {**without_owners(self.metadata), **named}

    @property
    def lifetime(self) -> Lifetime | None:
        return lifetime_of(self.ttl)


class ThreadPatch(Body):
    metadata: Metadata | None = None
    ttl: Minutes | Lifetime | None = None

    @property
    def changes(self) -> Json:
        return without_owners(self.metadata)

    @property
    def lifetime(self) -> Lifetime | None:
        return lifetime_of(self.ttl)

    @property
    def only_pins(self) -> bool:
        """Whether it says nothing but whether the thread is pinned."""
        return self.ttl is None and set(self.changes) == {PINNED} and isinstance(self.changes[PINNED], bool)


def lifetime_of(ttl: float | Lifetime | None) -> Lifetime | None:
    return Lifetime(ttl=ttl) if isinstance(ttl, int | float) else ttl


#: `context` is a name that clients may know and that threads here do not have.
ThreadField = Literal[
    "thread_id",
    "created_at",
    "updated_at",
    "state_updated_at",
    "metadata",
    "status",
    "config",
    "context",
    "values",
    "interrupts",
    "error",
    "title",
]


def _check_path(text: str) -> str:
    paths.parse(text)
    return text


_Path = Annotated[str, AfterValidator(_check_path)]
_Alias = Annotated[str, StringConstraints(max_length=255)]


class ThreadCount(Body):
    metadata: Filter | None = None
    values: Filter | None = None
    status: Literal["idle", "busy", "interrupted", "error"] | None = None
    ids: list[str] | None = Field(default=None, max_length=1000)


class ThreadSearch(ThreadCount, Search):
    sort_by: Literal["thread_id", "status", "created_at", "updated_at", "state_updated_at"] | None = None
    select: Annotated[list[ThreadField], Field(max_length=50)] | None = None
    extract: Annotated[dict[_Alias, _Path], Field(max_length=10)] | None = None


class ThreadPrune(Body):
    thread_ids: Annotated[list[str], Field(max_length=1000)]
    strategy: LifetimeStrategy = "delete"
