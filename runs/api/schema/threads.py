from typing import Any

from pydantic import AwareDatetime, BaseModel, RootModel

from runs.api.schema.base import Shape
from runs.protocol.requests.base import Json
from runs.protocol.requests.threads import LifetimeStrategy
from runs.states import ThreadStatus


class Lifetime(Shape):
    strategy: LifetimeStrategy
    ttl_minutes: float
    expires_at: AwareDatetime


class Thread(Shape):
    thread_id: str
    created_at: AwareDatetime
    updated_at: AwareDatetime
    state_updated_at: AwareDatetime
    metadata: Json
    status: ThreadStatus
    config: Json
    values: Any
    interrupts: dict[str, list[Json]]
    error: Json | None
    title: str
    #: Only where it was asked for.
    ttl: Lifetime | None = None
    extracted: Json | None = None


class Pruned(Shape):
    pruned_count: int


class Size(Shape):
    count: int
    bytes: int


class Sizes(Size):
    by_channel: dict[str, Size]


class Storage(Shape):
    thread_id: str
    total_bytes: int
    checkpoints: Size
    channel_values: Sizes
    pending_writes: Sizes


class Checkpoint(BaseModel):
    thread_id: str
    checkpoint_ns: str
    checkpoint_id: str
    #: Of a subgraph only.
    checkpoint_map: dict[str, str] | None = None


class ThreadState(Shape):
    values: Any
    next: list[str]
    tasks: list[Json]
    metadata: Json | None
    created_at: AwareDatetime | None
    checkpoint: Checkpoint | None
    parent_checkpoint: Checkpoint | None
    interrupts: list[Json]
    checkpoint_id: str | None
    parent_checkpoint_id: str | None


class StateWritten(Shape):
    checkpoint: Checkpoint
    configurable: Checkpoint
    checkpoint_id: str


class Threads(RootModel[list[Thread | Json]]):
    """Whole, or with the keys that `select` names."""


class AnyThreadState(RootModel[ThreadState | Json]):
    """Whole, or with the keys that `select` names."""


class ThreadStates(RootModel[list[ThreadState | Json]]):
    """Newest first; whole, or with the keys that `select` names."""
