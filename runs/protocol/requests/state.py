"""The state of threads: read and written."""

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from runs.protocol.requests.base import Body, CheckpointBody, Json


class StateUpdate(Body):
    values: Json | Annotated[list[Json], Field(fail_fast=True)] | None = None
    as_node: str | None = Field(default=None, max_length=255)
    checkpoint: CheckpointBody | None = None
    checkpoint_id: str | None = Field(default=None, max_length=255)


#: A key of a state, or one of its values.
StateField = Annotated[
    str,
    StringConstraints(
        max_length=255,
        pattern=r"^(values(\..+)?|next|tasks|metadata|created_at|interrupts|(parent_)?checkpoint(_id)?)$",
    ),
]
Selection = Annotated[list[StateField], Field(max_length=50, fail_fast=True)]


class StateSelection(Body):
    select: Selection | None = None


class CheckpointQuery(StateSelection):
    checkpoint: CheckpointBody
    subgraphs: bool = False


MetadataKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,255}$")]


class HistoryQuery(StateSelection):
    limit: int = Field(default=10, ge=1, le=1000)
    before: str | CheckpointBody | Json | None = None
    #: The checkpointer takes other keys for parts of a query.
    metadata: Annotated[dict[MetadataKey, Any], Field(max_length=50)] | None = None
    checkpoint: CheckpointBody | None = None
