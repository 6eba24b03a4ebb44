from typing import Literal

from pydantic import RootModel

from runs.api.schema.base import Problem, Shape
from runs.protocol.commands import ErrorCode
from runs.protocol.requests.base import Json


class CommandMeta(Shape):
    #: Where to begin to read the run's events; only when no other run of the thread was active.
    applied_through_seq: int | None = None


class CommandSuccess(Shape):
    type: Literal["success"]
    id: int
    result: Json
    meta: CommandMeta | None = None


class CommandError(Shape):
    type: Literal["error"]
    id: int | None
    error: ErrorCode
    message: str


class CommandAnswer(RootModel[CommandSuccess | CommandError]):
    """By its `type`: what came of the command, or why nothing did."""


class CommandRefusal(RootModel[CommandError | Problem]):
    """A body that is no command, or no JSON."""
