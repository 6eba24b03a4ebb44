"""Assistants: made, changed and found."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from runs.protocol.requests.base import Body, ConfigBody, Filter, Json, Metadata, Search, check_uuid, is_reserved

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
GraphId = Annotated[str, StringConstraints(min_length=1, max_length=64)]

#: They say where a run goes on, which is for each run to say, and nothing that a context knows.
_PLACES = frozenset({"thread_id", "checkpoint_id", "checkpoint_map"})


class AssistantCount(Body):
    graph_id: str | None = Field(default=None, max_length=64)
    name: str | None = Field(default=None, max_length=255)
    metadata: Filter | None = None


class AssistantSearch(Search):
    graph_id: str | None = Field(default=None, max_length=64)
    name: str | None = Field(default=None, max_length=255)
    sort_by: Literal["assistant_id", "graph_id", "name", "created_at", "updated_at"] | None = None
    select: Annotated[list[AssistantField], Field(max_length=50)] | None = None


class _Fields(Body):
    config: ConfigBody | None = None
    context: Json | None = None
    metadata: Metadata | None = None
    name: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = None
    description: Annotated[str, StringConstraints(max_length=4096)] | None = None

    @model_validator(mode="after")
    def _one_truth(self) -> Self:
        configurable = (self.config and self.config.configurable) or {}
        for key in configurable:
            if key in _PLACES:
                raise ValueError(f"'{key}' in 'config.configurable' is for runs, not for assistants")
        for key, value in (self.context or {}).items():
            if key in configurable and configurable[key] != value:
                raise ValueError(f"'{key[:100]}' is not the same in 'context' and in 'config.configurable'")
        return self

    def configuration(self, config: Json, context: Json) -> tuple[Json, Json]:
        """`config` and `context` of an assistant that has had these, after the request.

        Older graphs read `config.configurable` and newer ones the context, so what only one of them was given
        stands in the other too, except for keys that mean nothing there.
        """
        if self.config is not None:
            config = self.config.model_dump(exclude_none=True)
        given = config.get("configurable") if self.config is not None else None
        if self.context is not None:
            context = self.context
            if given is None:
                config = _with_configurable(config, context)
        elif given is not None:
            context = dict(given)
        return config, context


def _with_configurable(config: Json, context: Json) -> Json:
    kept = {key: value for key, value in config.items() if key != "configurable"}
    configurable = {key: value for key, value in context.items() if key not in _PLACES and not is_reserved(key)}
    return {**kept, "configurable": configurable} if configurable else kept


class AssistantPatch(_Fields):
    """What is absent stays as it is, and `metadata` is merged key by key."""

    graph_id: GraphId | None = None


class AssistantCreate(_Fields):
    graph_id: GraphId
    assistant_id: str | None = None
    if_exists: Literal["raise", "do_nothing"] | None = None

    _assistant_id = field_validator("assistant_id")(check_uuid)


class VersionSearch(Body):
    metadata: Filter | None = None
    limit: int = Field(default=10, ge=1, le=1000)
    offset: int = Field(default=0, ge=0, le=2**31)


class VersionChoice(Body):
    version: int = Field(ge=1, le=2**31 - 1)
