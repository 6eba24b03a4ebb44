from typing import TypeVar

from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from runs.api.base import ApiViewSet, prefix_of
from runs.api.query import body_of, choice, flag, integer, tenant_of
from runs.api.shapes import run_fields, selected
from runs.api.streaming import ended_response, stream_response, wait_response
from runs.exceptions import Conflict, Invalid
from runs.models import Run
from runs.protocol.classic import STREAM_MODES
from runs.protocol.requests import RunRequest
from runs.protocol.sse import CONTENT_TYPE
from runs.services import runs
from runs.states import TERMINAL, CancelAction, RunStatus

AnyResponse = TypeVar("AnyResponse", bound=HttpResponseBase)

_MAX_LIMIT = 1000
_MAX_EVENT_ID = 2**63 - 1


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

    def create(self, request: Request) -> HttpResponseBase:
        run = runs.create_stateless_run(tenant_of(request), body_of(request, RunRequest))
        return _created(request, run, Response(run_fields(run)))

    def stream(self, request: Request) -> HttpResponseBase:
        run = runs.create_stateless_run(tenant_of(request), body_of(request, RunRequest))
        return _created(request, run, stream_response(run, cancel_on_disconnect=_leaves(run)), follow="stream")

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

    def create(self, request: Request, thread_id: str) -> HttpResponseBase:
        run = runs.create_run(tenant_of(request), thread_id, body_of(request, RunRequest))
        return _created(request, run, Response(run_fields(run)))

    def stream(self, request: Request, thread_id: str) -> HttpResponseBase:
        run = runs.create_run(tenant_of(request), thread_id, body_of(request, RunRequest))
        return _created(request, run, stream_response(run, cancel_on_disconnect=_leaves(run)), follow="stream")

    def wait(self, request: Request, thread_id: str) -> HttpResponseBase:
        run = runs.create_run(tenant_of(request), thread_id, body_of(request, RunRequest))
        return _created(request, run, wait_response(run, cancel_on_disconnect=_leaves(run)), follow="join")

    def list(self, request: Request, thread_id: str) -> Response:
        status = choice(request, "status", frozenset(RunStatus.values))
        found = runs.list_runs(
            tenant_of(request),
            thread_id,
            limit=integer(request, "limit", 10, at_least=1, at_most=_MAX_LIMIT),
            offset=integer(request, "offset", 0, at_least=0, at_most=2**31),
            status=RunStatus(status) if status else None,
        )
        select = request.query_params.getlist("select") or None
        return Response([selected(run_fields(run), select) for run in found])

    def retrieve(self, request: Request, thread_id: str, run_id: str) -> Response:
        return Response(run_fields(runs.get_run(tenant_of(request), thread_id, run_id)))

    def destroy(self, request: Request, thread_id: str, run_id: str) -> Response:
        runs.delete_run(tenant_of(request), thread_id, run_id)
        return Response(status=204)

    def join(self, request: Request, thread_id: str, run_id: str) -> HttpResponseBase:
        leaves = flag(request, "cancel_on_disconnect")
        if CONTENT_TYPE in request.headers.get("Accept", ""):
            return self.join_stream(request, thread_id, run_id)
        run = runs.get_run(tenant_of(request), thread_id, run_id)
        return _created(request, run, wait_response(run, cancel_on_disconnect=leaves), follow="join")

    def join_stream(self, request: Request, thread_id: str, run_id: str) -> HttpResponseBase:
        """The run's stream from the reader's cursor; with `action`, the run is cancelled first."""
        tenant = tenant_of(request)
        leaves = flag(request, "cancel_on_disconnect")
        after, modes = _last_event_id(request), _modes(request)
        action, wait = _action(request), flag(request, "wait")
        run = runs.get_run(tenant, thread_id, run_id)
        if action:
            if run.status in TERMINAL:
                raise Conflict(f"Run {run.run_id} is not cancellable (status: {run.status})")
            runs.cancel_run(tenant, run, action)
            if wait:
                return ended_response(run)
        response = stream_response(run, modes, after=after, cancel_on_disconnect=leaves)
        return _created(request, run, response, follow="stream")

    def cancel(self, request: Request, thread_id: str, run_id: str) -> HttpResponseBase:
        tenant = tenant_of(request)
        action, wait = _action(request) or CancelAction.INTERRUPT, flag(request, "wait")
        run = runs.get_run(tenant, thread_id, run_id)
        runs.cancel_run(tenant, run, action)
        return ended_response(run) if wait else Response(status=202)


def _action(request: Request) -> CancelAction | None:
    action = choice(request, "action", frozenset(CancelAction.values))
    return CancelAction(action) if action else None


def _modes(request: Request) -> list[str] | None:
    """The stream modes that the reader wants; None: those of the run."""
    modes = [mode for item in request.query_params.getlist("stream_mode") for mode in item.split(",") if mode]
    if unknown := set(modes) - STREAM_MODES:
        raise Invalid(("query", "stream_mode"), f"does not know {', '.join(sorted(unknown))[:100]}")
    return modes or None


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
