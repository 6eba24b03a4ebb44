from typing import TypeVar

from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from runs.api import schema
from runs.api.base import ApiViewSet, prefix_of
from runs.api.query import body_of, choice, choices, demand, flag, integer, tenant_of
from runs.api.schema import operation
from runs.api.shapes import run_fields, selected
from runs.api.streaming import ended_response, stream_response, wait_response
from runs.exceptions import Conflict, Invalid
from runs.models import Run
from runs.protocol.classic import STREAM_MODES
from runs.protocol.requests.base import Nothing
from runs.protocol.requests.runs import RunRequest
from runs.protocol.sse import CONTENT_TYPE
from runs.services import runs
from runs.states import TERMINAL, CancelAction, RunStatus

AnyResponse = TypeVar("AnyResponse", bound=HttpResponseBase)

_MAX_LIMIT = 1000
_MAX_EVENT_ID = 2**63 - 1
#: `cancel_reason` is a name that clients may know and that runs here do not have.
_FIELDS = frozenset({*schema.Run.model_fields, "cancel_reason"})


def _created(request: Request, run: Run, response: AnyResponse, *, follow: str = "") -> AnyResponse:
    """Say where the run is, and where to come back to: SDKs append `Location` to their own base address."""
    place = f"/threads/{run.thread_id}/runs/{run.run_id}"
    response["Content-Location"] = prefix_of(request) + place
    if follow:
        response["Location"] = f"{place}/{follow}"
    return response


def _leaves(run: Run) -> bool:
    return bool(run.kwargs["on_disconnect"] == "cancel")


class StatelessRunViewSet(ApiViewSet):
    required_permissions = {"create": "runs:create", "stream": "runs:create", "wait": "runs:create"}

    @operation(
        "create_stateless_run",
        "Start a run on a thread of its own",
        body=RunRequest,
        answers={200: schema.Run},
        parameters=schema.PLACE,
        refusals=[404, 409],
    )
    def create(self, request: Request) -> HttpResponseBase:
        run = runs.create_stateless_run(tenant_of(request), body_of(request, RunRequest))
        return _created(request, run, Response(run_fields(run)))

    @operation(
        "stream_stateless_run",
        "Start a run on a thread of its own and follow it",
        body=RunRequest,
        answers=schema.STREAM,
        parameters=schema.FOLLOWED,
        refusals=[404, 409],
    )
    def stream(self, request: Request) -> HttpResponseBase:
        run = runs.create_stateless_run(tenant_of(request), body_of(request, RunRequest))
        return _created(request, run, stream_response(run, cancel_on_disconnect=_leaves(run)), follow="stream")

    @operation(
        "wait_for_stateless_run",
        "Run on a thread of its own and wait for the end",
        body=RunRequest,
        answers=schema.VALUES,
        parameters=schema.FOLLOWED,
        refusals=[404, 409],
    )
    def wait(self, request: Request) -> HttpResponseBase:
        run = runs.create_stateless_run(tenant_of(request), body_of(request, RunRequest))
        return _created(request, run, wait_response(run, cancel_on_disconnect=_leaves(run)), follow="join")


class RunViewSet(ApiViewSet):
    required_permissions = {
        "create": "runs:create",
        "stream": "runs:create",
        "wait": "runs:create",
        "list": "runs:read",
        "retrieve": "runs:read",
        "join": "runs:read",
        "join_stream": "runs:read",
        "cancel": "runs:cancel",
        "destroy": "runs:cancel",
    }

    @operation(
        "create_run",
        "Start a run on a thread",
        body=RunRequest,
        answers={200: schema.Run},
        parameters=schema.PLACE,
        refusals=[404, 409],
    )
    def create(self, request: Request, thread_id: str) -> HttpResponseBase:
        run = runs.create_run(tenant_of(request), thread_id, body_of(request, RunRequest))
        return _created(request, run, Response(run_fields(run)))

    @operation(
        "stream_run",
        "Start a run on a thread and follow it",
        body=RunRequest,
        answers=schema.STREAM,
        parameters=schema.FOLLOWED,
        refusals=[404, 409],
    )
    def stream(self, request: Request, thread_id: str) -> HttpResponseBase:
        run = runs.create_run(tenant_of(request), thread_id, body_of(request, RunRequest))
        return _created(request, run, stream_response(run, cancel_on_disconnect=_leaves(run)), follow="stream")

    @operation(
        "wait_for_run",
        "Run on a thread and wait for the end",
        body=RunRequest,
        answers=schema.VALUES,
        parameters=schema.FOLLOWED,
        refusals=[404, 409],
    )
    def wait(self, request: Request, thread_id: str) -> HttpResponseBase:
        run = runs.create_run(tenant_of(request), thread_id, body_of(request, RunRequest))
        return _created(request, run, wait_response(run, cancel_on_disconnect=_leaves(run)), follow="join")

    @operation(
        "list_runs",
        "List the runs of a thread, newest first",
        answers={200: schema.Runs},
        parameters=[schema.LIMIT, schema.OFFSET, schema.STATUS, schema.SELECT],
        refusals=[404],
    )
    def list(self, request: Request, thread_id: str) -> Response:
        status = choice(request, "status", frozenset(RunStatus.values))
        select = choices(request, "select", _FIELDS) or None
        found = runs.list_runs(
            tenant_of(request),
            thread_id,
            limit=integer(request, "limit", 10, at_least=1, at_most=_MAX_LIMIT),
            offset=integer(request, "offset", 0, at_least=0, at_most=2**31),
            status=RunStatus(status) if status else None,
        )
        return Response([selected(run_fields(run), select) for run in found])

    @operation("get_run", "Get a run", answers={200: schema.Run}, refusals=[404])
    def retrieve(self, request: Request, thread_id: str, run_id: str) -> Response:
        return Response(run_fields(runs.get_run(tenant_of(request), thread_id, run_id)))

    @operation("delete_run", "Delete a run and its events", answers={204: schema.EMPTY}, refusals=[404])
    def destroy(self, request: Request, thread_id: str, run_id: str) -> Response:
        runs.delete_run(tenant_of(request), thread_id, run_id)
        return Response(status=204)

    @operation(
        "join_run",
        "Wait for the end of a run",
        answers={**schema.VALUES, **schema.STREAM},
        parameters=[schema.LEAVING, *schema.FOLLOWED],
        refusals=[404],
    )
    def join(self, request: Request, thread_id: str, run_id: str) -> HttpResponseBase:
        if CONTENT_TYPE in request.headers.get("Accept", ""):
            return self.join_stream(request, thread_id, run_id)
        leaves = _may_leave(request)
        run = runs.get_run(tenant_of(request), thread_id, run_id)
        return _created(request, run, wait_response(run, cancel_on_disconnect=leaves), follow="join")

    @operation(
        "cancel_and_stream_run",
        "Follow a run, having cancelled it first if `action` says so",
        body=Nothing,
        answers={**schema.STREAM, 204: schema.EMPTY},
        parameters=[*schema.CURSOR, schema.LEAVING, *schema.CANCEL, *schema.FOLLOWED],
        refusals=[404, 409],
        method="POST",
    )
    @operation(
        "stream_run_again",
        "Follow a run from the reader's cursor",
        answers={**schema.STREAM, 204: schema.EMPTY},
        parameters=[*schema.CURSOR, schema.LEAVING, *schema.CANCEL, *schema.FOLLOWED],
        refusals=[404, 409],
        method="GET",
    )
    def join_stream(self, request: Request, thread_id: str, run_id: str) -> HttpResponseBase:
        """The run's stream from the reader's cursor; with `action`, the run is cancelled first."""
        tenant, leaves = tenant_of(request), _may_leave(request)
        after, modes = _last_event_id(request), choices(request, "stream_mode", STREAM_MODES) or None
        action, wait = _action(request), flag(request, "wait")
        if action:
            demand(tenant, "runs:cancel")
        if request.method == "POST":
            body_of(request, Nothing)
        run = runs.get_run(tenant, thread_id, run_id)
        if action:
            if run.status in TERMINAL:
                raise Conflict(f"Run {run.run_id} is not cancellable (status: {run.status})")
            runs.cancel_run(tenant, run, action)
            if wait:
                return ended_response(run)
        response = stream_response(run, modes, after=after, cancel_on_disconnect=leaves)
        return _created(request, run, response, follow="stream")

    @operation(
        "cancel_run",
        "Cancel a run",
        body=Nothing,
        answers={202: schema.EMPTY, 204: schema.EMPTY},
        parameters=schema.CANCEL,
        refusals=[404, 409],
    )
    def cancel(self, request: Request, thread_id: str, run_id: str) -> HttpResponseBase:
        tenant = tenant_of(request)
        action, wait = _action(request) or CancelAction.INTERRUPT, flag(request, "wait")
        body_of(request, Nothing)
        run = runs.get_run(tenant, thread_id, run_id)
        runs.cancel_run(tenant, run, action)
        return ended_response(run) if wait else Response(status=202)


def _may_leave(request: Request) -> bool:
    """Whether the run is cancelled when this reader was its last."""
    leaves = flag(request, "cancel_on_disconnect")
    if leaves:
        demand(tenant_of(request), "runs:cancel")
    return leaves


def _action(request: Request) -> CancelAction | None:
    """How the run is to be cancelled; None: it is not, as never by a HEAD."""
    action = choice(request, "action", frozenset(CancelAction.values))
    return CancelAction(action) if action and request.method != "HEAD" else None


def _last_event_id(request: Request) -> int | None:
    """The reader's cursor: None without one, 0 for the beginning."""
    text = request.headers.get("Last-Event-ID", "").strip() or request.query_params.get("last_event_id", "").strip()
    if not text:
        return None
    if text in ("-1", "0", "0-0"):
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= _MAX_EVENT_ID):
        raise Invalid(("header", "Last-Event-ID"), "must be the id of an event, 0 or -1")
    return int(text)
