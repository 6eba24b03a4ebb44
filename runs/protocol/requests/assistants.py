"""Assistants: made, changed and found."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

from runs.protocol.requests.base import Body, ConfigBody, Json, Search, check_uuid

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

    _assistant_id = field_validator("assistant_id")(check_uuid)
