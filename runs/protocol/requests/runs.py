"""Runs: what to execute, and how."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, RootModel, StringConstraints, field_validator, model_validator

from runs.protocol.requests.base import Body, CheckpointBody, ConfigBody, Json, Metadata, check_thread_id, check_uuid
from runs.states import MultitaskStrategy

StreamMode = Literal[
    "values", "messages", "messages-tuple", "updates", "custom", "debug", "tasks", "checkpoints", "events"
]
#: Lists without a bound stop at the first wrong item: a million complaints would take seconds to make.
NodeNames = Literal["*"] | Annotated[list[Annotated[str, StringConstraints(max_length=255)]], Field(fail_fast=True)]


FeedbackKey = Annotated[str, StringConstraints(min_length=1, max_length=255)]


class Send(Body):
    node: str
    input: Any = None


Update = Json | Annotated[list[Annotated[tuple[str, Any], Field(strict=False)]], Field(fail_fast=True)]
Goto = str | Send | Annotated[list[str | Send], Field(fail_fast=True)]


class CommandBody(Body):
    resume: Any = None
    update: Update | None = None
    goto: Goto | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("needs 'resume', 'update' or 'goto'")
        return self


class RunRequest(Body):
    """A run, on a thread or stateless."""

    assistant_id: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    follow_up_to_run_id: str | None = None
    input: Any = None
    command: CommandBody | None = None
    metadata: Metadata | None = None
    config: ConfigBody | None = None
    context: Json | None = None
    checkpoint_id: str | None = Field(default=None, max_length=255)
    checkpoint: CheckpointBody | None = None
    interrupt_before: NodeNames | None = None
    interrupt_after: NodeNames | None = None
    webhook: Annotated[str, StringConstraints(min_length=1, max_length=2048)] | None = None
    feedback_keys: Annotated[list[FeedbackKey], Field(max_length=50, fail_fast=True)] | None = None
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
    strict_resume: bool | None = None

    _follow_up = field_validator("follow_up_to_run_id")(check_uuid)

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if self.command is not None and self.input is not None:
            raise ValueError("'input' and 'command' exclude each other")
        if self.checkpoint and self.checkpoint_id and self.checkpoint.checkpoint_id not in (None, self.checkpoint_id):
            raise ValueError("'checkpoint' and 'checkpoint_id' name different checkpoints")
        return self

    @model_validator(mode="after")
    def _whole_checkpoint(self) -> Self:
        """LangGraph would take the latest checkpoint of whatever is not named."""
        asked = self.checkpoint
        if asked is None:
            return self
        checkpoint_id, places = asked.checkpoint_id or self.checkpoint_id, asked.checkpoint_map or {}
        if asked.checkpoint_ns and not places.get(""):
            raise ValueError(
                "'checkpoint_ns' needs a 'checkpoint_map' that names the checkpoint of the whole graph too"
            )
        if (asked.checkpoint_ns or places) and places.get(asked.checkpoint_ns or "", checkpoint_id) != checkpoint_id:
            raise ValueError("'checkpoint_map' and 'checkpoint_id' name different checkpoints")
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


class BatchItem(RunRequest):
    """One run of a batch: on this thread, or stateless."""

    thread_id: str | None = None

    _thread_id = field_validator("thread_id")(check_thread_id)


class Batch(RootModel[Annotated[list[BatchItem], Field(min_length=1, max_length=100, fail_fast=True)]]):
    """Runs that are created together."""


class CancelMany(Body):
    """Runs by their ids, perhaps of one thread, or by their status."""

    thread_id: str | None = Field(default=None, max_length=64)
    run_ids: Annotated[list[str], Field(min_length=1, max_length=100, fail_fast=True)] | None = None
    status: Literal["pending", "running", "all"] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.run_ids is None) == (self.status is None):
            raise ValueError("needs either 'run_ids' or 'status'")
        return self
