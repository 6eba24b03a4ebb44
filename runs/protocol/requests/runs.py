"""Runs: what to execute, and how."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from runs.protocol.requests.base import Body, CheckpointBody, ConfigBody, Json
from runs.states import MultitaskStrategy

StreamMode = Literal[
    "values", "messages", "messages-tuple", "updates", "custom", "debug", "tasks", "checkpoints", "events"
]
#: Lists without a bound stop at the first wrong item: a million complaints would take seconds to make.
NodeNames = Literal["*"] | Annotated[list[Annotated[str, StringConstraints(max_length=255)]], Field(fail_fast=True)]


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
    multitask_strategy: Literal["reject", "enqueue", "interrupt", "rollback"] | None = None
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
