"""The params of commands of the Agent Streaming Protocol."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from runs.protocol.requests.base import Body, ConfigBody, Json, Metadata
from runs.protocol.requests.events import Place
from runs.protocol.requests.runs import CommandBody, Goto, RunRequest, Update

AssistantName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
CheckpointName = Annotated[str, StringConstraints(min_length=1, max_length=255)]
InterruptName = Annotated[str, StringConstraints(min_length=1, max_length=255)]
StateKey = Annotated[str, StringConstraints(max_length=255)]

_HUMP = re.compile(r"(?<=[a-z0-9])[A-Z]")


class Params(Body):
    """Params are the same in camelCase and in snake_case."""

    @model_validator(mode="before")
    @classmethod
    def _one_spelling(cls, sent: Any) -> Any:
        if not isinstance(sent, dict):
            return sent
        found = {key: value for key, value in sent.items() if key in cls.model_fields}
        for key, value in sent.items():
            name = _HUMP.sub(lambda hump: f"_{hump[0].lower()}", key)
            name = name if name in cls.model_fields else key
            if name in found and not _same(found[name], value):
                raise ValueError(f"'{name}' and '{key}' say different things")
            found[name] = value
        return found


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


class RunStart(Params, RunRequest):
    """Everything that a run can be asked for, by an assistant that is named."""

    assistant_id: AssistantName
    #: The checkpoint to start from.
    fork_from: CheckpointName | None = None
    langsmith_tracer: Json | None = None

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if self.fork_from is None:
            return self
        others = {self.checkpoint_id, self.configurable.get("checkpoint_id")}
        if self.checkpoint is not None or others - {None, self.fork_from}:
            raise ValueError("'fork_from' names another checkpoint than the others")
        return self


class Response(Params):
    """An answer to an interrupt."""

    #: Of the graph that asks; the id of the interrupt tells as much.
    namespace: Place | None = None
    interrupt_id: InterruptName
    response: Any


class InputRespond(Params):
    """An answer to one interrupt, or answers to several."""

    namespace: Place | None = None
    interrupt_id: InterruptName | None = None
    response: Any = None
    responses: Annotated[list[Response], Field(min_length=1, max_length=100, fail_fast=True)] | None = None
    update: Update | None = None
    goto: Goto | None = None
    config: ConfigBody | None = None
    metadata: Metadata | None = None

    @model_validator(mode="after")
    def _one_or_many(self) -> Self:
        one = self.model_fields_set & {"namespace", "interrupt_id", "response"}
        if (self.responses is None) == (not one):
            raise ValueError("needs either 'interrupt_id' and 'response', or 'responses'")
        if one and (self.interrupt_id is None or "response" not in one):
            raise ValueError("needs both 'interrupt_id' and 'response'")
        if self.responses and len(self.resume) < len(self.responses):
            raise ValueError("'responses' answer an interrupt twice")
        return self

    @property
    def resume(self) -> Json:
        """The answers by their interrupts."""
        if self.responses is None:
            return {str(self.interrupt_id): self.response}
        return {each.interrupt_id: each.response for each in self.responses}

    @property
    def command(self) -> CommandBody:
        """What the run is given."""
        asked: Json = {"resume": self.resume, "update": self.update, "goto": self.goto}
        return CommandBody(**{name: value for name, value in asked.items() if value is not None})


class InputMessage(Params):
    role: Literal["user", "system"]
    content: str
    name: Annotated[str, StringConstraints(max_length=255)] | None = None


class InputInject(Params):
    """A message for the graph."""

    namespace: Place = []
    message: InputMessage


class GetTree(Params):
    run_id: str | None = None


class StateGet(Params):
    namespace: Place = []
    #: Of the values; none: all.
    keys: Annotated[list[StateKey], Field(max_length=100, fail_fast=True)] | None = None


class ListCheckpoints(Params):
    namespace: Place = []
    limit: int = Field(default=10, ge=1, le=1000)
    #: The id of a checkpoint: older ones are listed.
    before: CheckpointName | None = None


class StateFork(Params):
    checkpoint_id: CheckpointName
    input: Any = None
    config: ConfigBody | None = None
