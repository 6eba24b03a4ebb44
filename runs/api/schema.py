"""How the API describes itself in `/openapi.json`: what its operations take, and the shapes that they answer.

The shapes are made in `runs.api.shapes`; here they are only described, and tests hold the one to the other.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

from drf_spectacular.drainage import set_override
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from pydantic import AwareDatetime, BaseModel, ConfigDict, RootModel

from runs.protocol.classic import STREAM_MODES
from runs.protocol.requests import Body, Json
from runs.protocol.sse import CONTENT_TYPE
from runs.states import CancelAction, MultitaskStrategy, RunStatus, ThreadStatus

F = TypeVar("F", bound=Callable[..., Any])
Answers = dict[int | tuple[int, str], Any]


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Assistant(Shape):
    assistant_id: UUID
    graph_id: str
    config: Json
    context: Json
    metadata: Json
    name: str
    description: str | None
    version: int
    created_at: AwareDatetime
    updated_at: AwareDatetime


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


class Run(Shape):
    run_id: UUID
    thread_id: str
    assistant_id: UUID | None
    metadata: Json
    status: RunStatus
    kwargs: Json
    multitask_strategy: MultitaskStrategy
    error: Json | None
    created_at: AwareDatetime
    updated_at: AwareDatetime


class Checkpoint(BaseModel):
    thread_id: str
    checkpoint_ns: str
    checkpoint_id: str


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


class FieldProblem(Shape):
    loc: list[str | int]
    msg: str
    type: str


class Problem(Shape):
    detail: str | list[FieldProblem]


class Assistants(RootModel[list[Assistant | Json]]):
    """Whole, or with the keys that `select` names."""


class Threads(RootModel[list[Thread | Json]]):
    """Whole, or with the keys that `select` names."""


class Runs(RootModel[list[Run | Json]]):
    """Whole, or with the keys that `select` names."""


class ThreadStates(RootModel[list[ThreadState]]):
    """Newest first."""


class Outcome(RootModel[Any]):
    """The final values of the run's thread; of a failed run `{__error__: {error, message}, status, error}`."""


set_override(Runs, "many", False)  # It is a list already; the action's name would make it a list of lists.

_PROBLEMS = {
    400: "The body is not JSON.",
    401: "No credential, or none that is valid.",
    403: "Your role does not allow it, or no organization is selected.",
    404: "No such thing, or not yours.",
    409: "Not in the state that it is in.",
    413: "The body is too large.",
    415: "The body is not `application/json`.",
    422: "A field, path or query is wrong; `detail` names it.",
    503: "Worth trying again, after as many seconds as `Retry-After` says.",
}

STREAM: Answers = {
    (200, CONTENT_TYPE): OpenApiResponse(
        OpenApiTypes.STR, "Events of the run, each with `event`, `data` (JSON) and `id`; the last one is `end`."
    )
}
VALUES: Answers = {200: Outcome}
EMPTY = OpenApiResponse(None, "Done.")


def _header(name: str, description: str) -> OpenApiParameter:
    return OpenApiParameter(name, str, OpenApiParameter.HEADER, response=[200], description=description)


PAGES = [
    _header("x-pagination-total", "How many rows there are at least."),
    _header("x-pagination-next", "The offset of the next page; only when there is one."),
]
PLACE = [_header("Content-Location", "The path of the run.")]
FOLLOWED = [*PLACE, _header("Location", "Where to come back to, relative to the base address of the client.")]

LIMIT = OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 10})
OFFSET = OpenApiParameter("offset", {"type": "integer", "minimum": 0, "maximum": 2**31, "default": 0})
SELECT = OpenApiParameter(
    "select",
    {"type": "array", "items": {"type": "string", "enum": list(Run.model_fields)}},
    description="These keys only.",
)
STATUS = OpenApiParameter("status", str, enum=RunStatus.values)
SUBGRAPHS = OpenApiParameter("subgraphs", bool, description="With the states of subgraphs in `tasks`.")
LEAVING = OpenApiParameter("cancel_on_disconnect", bool, description="Cancel the run when its last reader leaves.")
CANCEL = [
    OpenApiParameter("action", str, enum=CancelAction.values, description="How to cancel the run."),
    OpenApiParameter("wait", bool, description="Answer when the run has ended, with 204."),
]
CURSOR = [
    OpenApiParameter(
        "Last-Event-ID",
        str,
        OpenApiParameter.HEADER,
        description="The id of the last event that the reader has; 0 or -1: everything from the first.",
    ),
    OpenApiParameter("last_event_id", str, description="As the header, for readers that can not set one."),
    OpenApiParameter(
        "stream_mode",
        {"type": "array", "items": {"type": "string", "enum": sorted(STREAM_MODES)}},
        description="Modes to show; those of the run without it.",
    ),
]
MINIMAL = OpenApiParameter(
    "Prefer", str, OpenApiParameter.HEADER, description="`return=minimal`: an empty answer, 204."
)


def operation(
    operation_id: str,
    summary: str,
    *,
    answers: Answers,
    body: type[Body] | None = None,
    parameters: Sequence[OpenApiParameter] = (),
    refusals: Sequence[int] = (),
    method: str | None = None,
) -> Callable[[F], F]:
    """Describe an action of a viewset: `refusals` beside those that all have, `method` when it serves several."""
    taken = (400, 413, 415, 422) if body else (422,) if parameters else ()
    problems = {status: OpenApiResponse(Problem, _PROBLEMS[status]) for status in (401, 403, *taken, *refusals, 503)}
    decorate: Callable[[F], F] = extend_schema(
        operation_id=operation_id,
        summary=summary,
        request=body,
        responses={**answers, **dict(sorted(problems.items()))},
        parameters=list(parameters),
        methods=[method] if method else None,
    )
    return decorate
