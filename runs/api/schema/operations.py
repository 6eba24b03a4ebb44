"""What operations take and answer: parameters, headers, problems, and the decorator that describes an action."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from drf_spectacular.drainage import isolate_view_method
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from pydantic import RootModel

from runs.api.schema.base import Problem
from runs.api.schema.runs import Outcome, Run
from runs.protocol.classic import STREAM_MODES
from runs.protocol.requests.base import Body
from runs.protocol.sse import CONTENT_TYPE
from runs.protocol.thread_stream import THREAD_MODES
from runs.states import CancelAction, RunStatus

F = TypeVar("F", bound=Callable[..., Any])
V = TypeVar("V", bound=type)
Answers = dict[int | tuple[int, str], Any]

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
EVENT_STREAM: Answers = {
    (200, CONTENT_TYPE): OpenApiResponse(
        OpenApiTypes.STR, "Events of the thread, each with `event`, `data` (JSON) and `id`; it goes on without end."
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
STATE_SELECT = OpenApiParameter(
    "select",
    {"type": "array", "items": {"type": "string"}, "maxItems": 50},
    description="These keys only; `values.<key>` is one of the values.",
)
SUBGRAPHS = OpenApiParameter("subgraphs", bool, description="With the states of subgraphs in `tasks`.")
INCLUDE = OpenApiParameter(
    "include",
    {"type": "array", "items": {"type": "string", "enum": ["ttl"]}},
    description="These keys too.",
)
XRAY = OpenApiParameter(
    "xray",
    {"anyOf": [{"type": "boolean"}, {"type": "integer", "minimum": 0, "maximum": 100}]},
    description="With the nodes of subgraphs; a number says down to which depth.",
)
RECURSE = OpenApiParameter("recurse", bool, description="With the subgraphs of subgraphs.")
DELETE_THREADS = OpenApiParameter(
    "delete_threads", bool, description="Delete your threads that it ran on last, too; needs `threads:delete`."
)
LEAVING = OpenApiParameter("cancel_on_disconnect", bool, description="Cancel the run when its last reader leaves.")
ACTION = OpenApiParameter("action", str, enum=CancelAction.values, description="How to cancel.")
CANCEL = [
    ACTION,
    OpenApiParameter("wait", bool, description="Answer when the run has ended, with 204."),
]
LAST_EVENT_ID = OpenApiParameter(
    "Last-Event-ID",
    str,
    OpenApiParameter.HEADER,
    description="The id of the last event that the reader has; 0 or -1: everything from the first.",
)
THREAD_MODE = OpenApiParameter(
    "stream_mode", {"type": "array", "items": {"type": "string", "enum": sorted(THREAD_MODES)}}
)
CURSOR = [
    LAST_EVENT_ID,
    OpenApiParameter("last_event_id", str, description="As the header, for readers that can not set one."),
    OpenApiParameter(
        "stream_mode",
        {"type": "array", "items": {"type": "string", "enum": sorted(STREAM_MODES)}},
        description="Modes to show; those of the run without it.",
    ),
]
ONCE = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="The same key with the same body within 24 hours makes nothing new and is answered with what it made.",
)
MINIMAL = OpenApiParameter(
    "Prefer", str, OpenApiParameter.HEADER, description="`return=minimal`: an empty answer, 204."
)


def operation(
    operation_id: str,
    summary: str,
    *,
    answers: Answers,
    body: type[Body] | type[RootModel[Any]] | None = None,
    parameters: Sequence[OpenApiParameter] = (),
    refusals: Sequence[int] = (),
    method: str | None = None,
) -> Callable[[F], F]:
    """Describe an action of a viewset: `refusals` beside those that all have, `method` when it serves several.

    What `answers` say of a refusal counts.
    """
    taken = (400, 413, 415, 422) if body else (422,) if parameters else ()
    refused = sorted({401, 403, *taken, *refusals, 503})
    problems: Answers = {status: OpenApiResponse(Problem, _PROBLEMS[status]) for status in refused}
    decorate: Callable[[F], F] = extend_schema(
        operation_id=operation_id,
        summary=summary,
        request=body,
        responses=problems | answers,
        parameters=list(parameters),
        methods=[method] if method else None,
    )
    return decorate


def renamed(**names: str | dict[str, str]) -> Callable[[V], V]:
    """Give inherited actions of a viewset ids of their own: for each one id, or one for each method."""

    def rename(viewset: V) -> V:
        for action, ids in names.items():
            own: Any = isolate_view_method(viewset, action)  # type: ignore[no-untyped-call]
            for method, operation_id in ids.items() if isinstance(ids, dict) else [(None, ids)]:
                extend_schema(operation_id=operation_id, methods=[method] if method else None)(own)
        return viewset

    return rename
