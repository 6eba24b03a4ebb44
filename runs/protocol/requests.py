"""What a client may ask for, checked: the bodies of the LangGraph API.

A field that is not known here is an error that names it; nothing is dropped. `None` means that the client did not say.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from runs.identifiers import is_thread_id, is_uuid
from runs.states import MultitaskStrategy

StreamMode = Literal[
    "values", "messages", "messages-tuple", "updates", "custom", "debug", "tasks", "checkpoints", "events"
]
Json = dict[str, Any]
#: Lists without a bound stop at the first wrong item: a million complaints would take seconds to make.
#: Keys and values that rows must have; each is a condition of the query.
Filter = Annotated[Json, Field(max_length=50)]
NodeNames = Literal["*"] | Annotated[list[Annotated[str, StringConstraints(max_length=255)]], Field(fail_fast=True)]

#: Keys of `config.configurable` that only the server sets.
_RESERVED = frozenset(
    {"run_id", "user_id", "organization_id", "assistant_id", "graph_id", "run_attempt", "checkpoint_ns"}
)


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


def _check_thread_id(value: str | None) -> str | None:
    if value is not None and not is_thread_id(value):
        raise ValueError("must be a UUID, or 1 to 64 letters, digits, '_' and '-'")
    return value


def _check_uuid(value: str | None) -> str | None:
    if value is not None and not is_uuid(value):
        raise ValueError("must be a UUID")
    return value


class Nothing(Body):
    """The body of what takes none: empty, or an empty object."""


class Send(Body):
    node: str
    input: Any = None


class CommandBody(Body):
    resume: Any = None
    update: Json | Annotated[list[Annotated[tuple[str, Any], Field(strict=False)]], Field(fail_fast=True)] | None = None
    goto: str | Send | Annotated[list[str | Send], Field(fail_fast=True)] | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("needs 'resume', 'update' or 'goto'")
        return self


class CheckpointBody(Body):
    thread_id: str | None = None
    checkpoint_id: str | None = Field(default=None, max_length=255)
    checkpoint_ns: str | None = Field(default=None, max_length=1024)
    checkpoint_map: Json | None = None


class ConfigBody(Body):
    tags: list[Annotated[str, StringConstraints(max_length=255)]] | None = Field(default=None, max_length=100)
    recursion_limit: int | None = Field(default=None, ge=1, le=10_000)
    max_concurrency: int | None = Field(default=None, ge=1, le=10_000)
    run_name: str | None = Field(default=None, max_length=255)
    configurable: Json | None = None
    metadata: Json | None = None

    @field_validator("configurable")
    @classmethod
    def _no_reserved_keys(cls, value: Json | None) -> Json | None:
        for key in value or {}:
            if key in _RESERVED or key.startswith(("__", "langgraph_")):
                raise ValueError(f"'{key[:100]}' is set by the server")
        for key, kind, name in (
            ("thread_id", str, "a string"),
            ("checkpoint_id", str, "a string"),
            ("checkpoint_map", dict, "an object"),
        ):
            if value and not isinstance(value.get(key), kind | None):
                raise ValueError(f"'{key}' must be {name}")
        return value


class RunRequest(Body):
    """A run, on a thread or stateless."""

    assistant_id: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    input: Any = None
    command: CommandBody | None = None
    metadata: Json | None = None
    config: ConfigBody | None = None
    context: Json | None = None
    checkpoint_id: str | None = Field(default=None, max_length=255)
    checkpoint: CheckpointBody | None = None
    interrupt_before: NodeNames | None = None
    interrupt_after: NodeNames | None = None
    stream_mode: StreamMode | Annotated[list[StreamMode], Field(max_length=16)] | None = None
    stream_subgraphs: bool | None = None
    stream_resumable: bool | None = None
    on_disconnect: Literal["cancel", "continue"] | None = None
    on_completion: Literal["delete", "keep"] | None = None
    multitask_strategy: Literal["reject", "enqueue", "interrupt"] | None = None
    if_not_exists: Literal["create", "reject"] | None = None
    after_seconds: Annotated[float, Field(ge=0, le=366 * 24 * 3600)] | None = None
    durability: Literal["sync", "async", "exit"] | None = None
    checkpoint_during: bool | None = None

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if self.command is not None and self.input is not None:
            raise ValueError("'input' and 'command' exclude each other")
        if self.checkpoint and self.checkpoint_id and self.checkpoint.checkpoint_id != self.checkpoint_id:
            raise ValueError("'checkpoint' and 'checkpoint_id' name different checkpoints")
        return self

    @property
    def stream_modes(self) -> list[str]:
        """The modes asked for, each once; `values` when there is none."""
        modes = [self.stream_mode] if isinstance(self.stream_mode, str) else self.stream_mode or ["values"]
        return list(dict.fromkeys(modes))

    @property
    def configurable(self) -> Json:
        return (self.config and self.config.configurable) or {}

    @property
    def strategy(self) -> MultitaskStrategy | None:
        return MultitaskStrategy(self.multitask_strategy) if self.multitask_strategy else None


class ThreadCreate(Body):
    thread_id: str | None = None
    metadata: Json | None = None
    if_exists: Literal["raise", "do_nothing"] | None = None

    _thread_id = field_validator("thread_id")(_check_thread_id)


class ThreadPatch(Body):
    metadata: Json | None = None


class Search(Body):
    metadata: Filter | None = None
    limit: int = Field(default=10, ge=1, le=1000)
    offset: int = Field(default=0, ge=0, le=2**31)
    sort_order: Literal["asc", "desc"] | None = None


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
]


class ThreadSearch(Search):
    ids: list[str] | None = Field(default=None, max_length=1000)
    status: Literal["idle", "busy", "interrupted", "error"] | None = None
    sort_by: Literal["thread_id", "status", "created_at", "updated_at", "state_updated_at"] | None = None
    select: Annotated[list[ThreadField], Field(max_length=50)] | None = None


AssistantField = Literal[
    "assistant_id",
    "graph_id",
    "config",
    "context",
    "metadata",
    "name",
    "description",
    "version",
    "created_at",
    "updated_at",
]


class AssistantSearch(Search):
    graph_id: str | None = Field(default=None, max_length=64)
    name: str | None = Field(default=None, max_length=255)
    sort_by: Literal["assistant_id", "graph_id", "name", "created_at", "updated_at"] | None = None
    select: Annotated[list[AssistantField], Field(max_length=50)] | None = None


class AssistantCreate(Body):
    graph_id: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    assistant_id: str | None = None
    config: ConfigBody | None = None
    context: Json | None = None
    metadata: Json | None = None
    name: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = None
    description: Annotated[str, StringConstraints(max_length=4096)] | None = None
    if_exists: Literal["raise", "do_nothing"] | None = None

    _assistant_id = field_validator("assistant_id")(_check_uuid)


class StateUpdate(Body):
    values: Json | Annotated[list[Json], Field(fail_fast=True)] | None = None
    as_node: str | None = Field(default=None, max_length=255)
    checkpoint: CheckpointBody | None = None
    checkpoint_id: str | None = Field(default=None, max_length=255)


class CheckpointQuery(Body):
    checkpoint: CheckpointBody
    subgraphs: bool = False


MetadataKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,255}$")]


class HistoryQuery(Body):
    limit: int = Field(default=10, ge=1, le=1000)
    before: str | CheckpointBody | Json | None = None
    #: The checkpointer takes other keys for parts of a query.
    metadata: Annotated[dict[MetadataKey, Any], Field(max_length=50)] | None = None
    checkpoint: CheckpointBody | None = None
