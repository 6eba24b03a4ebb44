from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from runs.api import schema
from runs.api.base import ApiViewSet
from runs.api.creation import placed
from runs.api.query import action_of, body_of, choices, demand, flag, last_event_id, tenant_of
from runs.api.schema import operation, renamed
from runs.api.shapes import run_fields
from runs.api.streaming import ended_response, stream_response, wait_response
from runs.protocol.classic import STREAM_MODES
from runs.protocol.requests.base import Nothing
from runs.protocol.sse import CONTENT_TYPE
from runs.services import runs
from runs.states import CancelAction


class RunViewSet(ApiViewSet):
    """Runs by their thread and their id."""

    required_permissions = {
        "retrieve": "runs:read",
        "join": "runs:read",
        "join_stream": "runs:read",
        "cancel": "runs:cancel",
        "destroy": "runs:cancel",
    }

    @operation("get_run", "Get a run", answers={200: schema.Run}, refusals=[404])
    def retrieve(self, request: Request, run_id: str, thread_id: str | None = None) -> Response:
        return Response(run_fields(runs.get_run(tenant_of(request), thread_id, run_id)))

    @operation("delete_run", "Delete a run and its events", answers={204: schema.EMPTY}, refusals=[404])
    def destroy(self, request: Request, run_id: str, thread_id: str | None = None) -> Response:
        runs.delete_run(tenant_of(request), thread_id, run_id)
        return Response(status=204)

    @operation(
        "join_run",
        "Wait for the end of a run",
        answers={**schema.VALUES, **schema.STREAM},
        parameters=[schema.LEAVING, *schema.FOLLOWED],
        refusals=[404],
    )
    def join(self, request: Request, run_id: str, thread_id: str | None = None) -> HttpResponseBase:
        if CONTENT_TYPE in request.headers.get("Accept", ""):
            return self.join_stream(request, run_id, thread_id)
        leaves = _may_leave(request)
        run = runs.get_run(tenant_of(request), thread_id, run_id)
        return placed(request, run, wait_response(run, cancel_on_disconnect=leaves), follow="join")

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
    def join_stream(self, request: Request, run_id: str, thread_id: str | None = None) -> HttpResponseBase:
        """The run's stream from the reader's cursor; with `action`, the run is cancelled first."""
        tenant, leaves = tenant_of(request), _may_leave(request)
        after, modes = last_event_id(request), choices(request, "stream_mode", STREAM_MODES) or None
        action, wait = action_of(request), flag(request, "wait")
        if action:
            demand(tenant, "runs:cancel")
        if request.method == "POST":
            body_of(request, Nothing)
        run = runs.get_run(tenant, thread_id, run_id)
        if action:
            runs.cancel_run(tenant, run, action)
            if wait:
                return ended_response(run)
        response = stream_response(run, modes, after=after, cancel_on_disconnect=leaves)
        return placed(request, run, response, follow="stream")

    @operation(
        "cancel_run",
        "Cancel a run",
        body=Nothing,
        answers={202: schema.EMPTY, 204: schema.EMPTY},
        parameters=schema.CANCEL,
        refusals=[404, 409],
    )
    def cancel(self, request: Request, run_id: str, thread_id: str | None = None) -> HttpResponseBase:
        tenant = tenant_of(request)
        action, wait = action_of(request) or CancelAction.INTERRUPT, flag(request, "wait")
        body_of(request, Nothing)
        run = runs.get_run(tenant, thread_id, run_id)
        runs.cancel_run(tenant, run, action)
        return ended_response(run) if wait else Response(status=202)


@renamed(
    retrieve="get_run_by_id",
    destroy="delete_run_by_id",
    join="join_run_by_id",
    join_stream={"GET": "stream_run_by_id_again", "POST": "cancel_and_stream_run_by_id"},
    cancel="cancel_run_by_id",
)
class RunByIdViewSet(RunViewSet):
    """Runs by their id alone: for clients that know no thread."""


def _may_leave(request: Request) -> bool:
    """Whether the run is cancelled when this reader was its last."""
    leaves = flag(request, "cancel_on_disconnect")
    if leaves:
        demand(tenant_of(request), "runs:cancel")
    return leaves
