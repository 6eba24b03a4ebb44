"""Commands of the Agent Streaming Protocol, and their answers."""

from enum import StrEnum
from typing import Annotated, Any, NamedTuple

from pydantic import ConfigDict, Field, StringConstraints, ValidationError

from runs.protocol.requests.base import Body, Json
from runs.protocol.requests.events import MAX_SEQ

_MAX_PROBLEMS = 10
_MAX_TEXT = 100


class ErrorCode(StrEnum):
    """All that the protocol has."""

    INVALID_ARGUMENT = "invalid_argument"
    UNKNOWN_COMMAND = "unknown_command"
    UNKNOWN_ERROR = "unknown_error"
    NO_SUCH_RUN = "no_such_run"
    NO_SUCH_SUBSCRIPTION = "no_such_subscription"
    NO_SUCH_NAMESPACE = "no_such_namespace"
    NO_SUCH_INTERRUPT = "no_such_interrupt"
    NO_SUCH_CHECKPOINT = "no_such_checkpoint"
    PERMISSION_DENIED = "permission_denied"
    NOT_SUPPORTED = "not_supported"


class CommandFailed(Exception):
    """A command that can not be obeyed: what its caller is answered."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


class CommandMalformed(Exception):
    """No command. `id` is its number if that can be told."""

    def __init__(self, command_id: int | None, message: str) -> None:
        super().__init__(message)
        self.id = command_id
        self.message = message


class Command(Body):
    """What a client sends. It may hold more than this: records of the protocol are extensible."""

    model_config = ConfigDict(extra="ignore", strict=True)

    #: Chosen by the client; the answer has it too.
    id: int = Field(ge=0, le=MAX_SEQ)
    method: Annotated[str, StringConstraints(min_length=1)]
    params: Json = {}


class Done(NamedTuple):
    """What came of a command."""

    result: Json
    meta: Json | None = None


def parse(sent: Any) -> Command:
    """Raises CommandMalformed."""
    try:
        return Command.model_validate(sent)
    except ValidationError as exc:
        raise CommandMalformed(_id_of(sent), problems_of(exc)) from None


def _id_of(sent: Any) -> int | None:
    found = sent.get("id") if isinstance(sent, dict) else None
    return found if type(found) is int and 0 <= found <= MAX_SEQ else None


def problems_of(exc: ValidationError) -> str:
    """What is wrong, in one line that names the fields."""
    problems = []
    for error in exc.errors(include_url=False, include_input=False, include_context=False)[:_MAX_PROBLEMS]:
        where = ".".join(map(str, error["loc"]))[:_MAX_TEXT]
        what = error["msg"].removeprefix("Value error, ")[:_MAX_TEXT]
        problems.append(f"{where}: {what}" if where else what)
    return "; ".join(problems)


def success(command_id: int, done: Done) -> Json:
    answer = {"type": "success", "id": command_id, "result": done.result}
    return answer if done.meta is None else answer | {"meta": done.meta}


def failure(command_id: int | None, code: ErrorCode, message: str) -> Json:
    return {"type": "error", "id": command_id, "error": code, "message": message}
