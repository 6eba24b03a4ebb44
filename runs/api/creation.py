from typing import TypeVar

from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from runs.api import schema
from runs.api.base import ApiViewSet, prefix_of
from runs.api.once import once_of
from runs.api.query import action_of, body_of, choice, choices, integer, tenant_of
from runs.api.schema import operation
from runs.api.shapes import run_fields, selected
from runs.api.streaming import stream_response, wait_response
from runs.models import Run
from runs.protocol.requests.runs import Batch, CancelMany, RunRequest
from runs.services import creation, runs
from runs.states import CancelAction, RunStatus

AnyResponse = TypeVar("AnyResponse", bound=HttpResponseBase)

_MAX_LIMIT = 1000
#: `cancel_reason` is a name that clients may know and that runs here do not have.
_FIELDS = frozenset({*schema.Run.model_fields, "cancel_reason"})


def placed(request: Request, run: Run, response: AnyResponse, *, follow: str = "") -> AnyResponse:
    """Say where the run is, and where to come back to: SDKs append `Location` to their own base address."""
    place = f"/threads/{run.thread_id}/runs/{run.run_id}"
    response["Content-Location"] = prefix_of(request) + place
    if follow:
        response["Location"] = f"{place}/{follow}"
    return response


def _created(request: Request, run: Run) -> HttpResponseBase:
    return placed(request, run, Response(run_fields(run)))


def _streamed(request: Request, run: Run) -> HttpResponseBase:
    return placed(request, run, stream_response(run, cancel_on_disconnect=_leaves(run)), follow="stream")


def _awaited(request: Request, run: Run) -> HttpResponseBase:
    return placed(request, run, wait_response(run, cancel_on_disconnect=_leaves(run)), follow="join")


def _leaves(run: Run) -> bool:
    return bool(run.kwargs["on_disconnect"] == "cancel")


class AllRunsViewSet(ApiViewSet):
    """Runs without a thread's address: each on a thread of its own, or several at once."""

    required_permissions = {
        **dict.fromkeys(("create", "stream", "wait", "batch"), "runs:create"),
        "cancel_many": "runs:cancel",
    }

    @operation(
        "create_stateless_run",
        "Start a run on a thread of its own",
        body=RunRequest,
        answers={200: schema.Run},
        parameters=[schema.ONCE, *schema.PLACE],
        refusals=[404, 409],
    )
    def create(self, request: Request) -> HttpResponseBase:
        return _created(request, self._new(request))

    @operation(
        "stream_stateless_run",
        "Start a run on a thread of its own and follow it",
        body=RunRequest,
        answers=schema.STREAM,
        parameters=[schema.ONCE, *schema.FOLLOWED],
        refusals=[404, 409],
    )
    def stream(self, request: Request) -> HttpResponseBase:
        return _streamed(request, self._new(request))

    @operation(
        "wait_for_stateless_run",
        "Run on a thread of its own and wait for the end",
        body=RunRequest,
        answers=schema.VALUES,
        parameters=[schema.ONCE, *schema.FOLLOWED],
        refusals=[404, 409],
    )
    def wait(self, request: Request) -> HttpResponseBase:
        return _awaited(request, self._new(request))

    @operation(
        "create_runs",
        "Start several runs: all of them, or none",
        body=Batch,
        answers={200: schema.Runs},
        parameters=[schema.ONCE],
        refusals=[404, 409],
    )
    def batch(self, request: Request) -> HttpResponseBase:
        items = body_of(request, Batch).root
        made = creation.create_batch(tenant_of(request), items, once_of(request))
        return Response([run_fields(run) for run in made])

    @operation(
        "cancel_runs",
        "Cancel runs by their ids, or your own by their status",
        body=CancelMany,
        answers={204: schema.EMPTY},
        parameters=[schema.ACTION],
        refusals=[404],
    )
    def cancel_many(self, request: Request) -> Response:
        action = action_of(request) or CancelAction.INTERRUPT
        runs.cancel_runs(tenant_of(request), body_of(request, CancelMany), action)
        return Response(status=204)

    def _new(self, request: Request) -> Run:
        return creation.create_stateless_run(tenant_of(request), body_of(request, RunRequest), once_of(request))


class ThreadRunsViewSet(ApiViewSet):
    """The runs of a thread."""

    required_permissions = {**dict.fromkeys(("create", "stream", "wait"), "runs:create"), "list": "runs:read"}

    @operation(
        "create_run",
        "Start a run on a thread",
        body=RunRequest,
        answers={200: schema.Run},
        parameters=[schema.ONCE, *schema.PLACE],
        refusals=[404, 409],
    )
    def create(self, request: Request, thread_id: str) -> HttpResponseBase:
        return _created(request, self._new(request, thread_id))

    @operation(
        "stream_run",
        "Start a run on a thread and follow it",
        body=RunRequest,
        answers=schema.STREAM,
        parameters=[schema.ONCE, *schema.FOLLOWED],
        refusals=[404, 409],
    )
    def stream(self, request: Request, thread_id: str) -> HttpResponseBase:
        return _streamed(request, self._new(request, thread_id))

    @operation(
        "wait_for_run",
        "Run on a thread and wait for the end",
        body=RunRequest,
        answers=schema.VALUES,
        parameters=[schema.ONCE, *schema.FOLLOWED],
        refusals=[404, 409],
    )
    def wait(self, request: Request, thread_id: str) -> HttpResponseBase:
        return _awaited(request, self._new(request, thread_id))

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

    def _new(self, request: Request, thread_id: str) -> Run:
        return creation.create_run(tenant_of(request), thread_id, body_of(request, RunRequest), once_of(request))
