from rest_framework.request import Request
from rest_framework.response import Response

from runs.api import schema
from runs.api.base import ApiViewSet, page
from runs.api.query import body_of, flag, integer, tenant_of
from runs.api.schema import operation
from runs.api.shapes import thread_fields
from runs.exceptions import NotFound
from runs.identifiers import is_checkpoint_id
from runs.protocol.requests.base import CheckpointBody
from runs.protocol.requests.state import CheckpointQuery, HistoryQuery, StateUpdate
from runs.protocol.requests.threads import ThreadCreate, ThreadPatch, ThreadSearch
from runs.services import state, threads

_MAX_LIMIT = 1000


class ThreadViewSet(ApiViewSet):
    required_permissions = {
        "create": "threads:write",
        "search": "threads:read",
        "retrieve": "threads:read",
        "partial_update": "threads:write",
        "destroy": "threads:delete",
    }

    @operation("create_thread", "Make a thread", body=ThreadCreate, answers={200: schema.Thread}, refusals=[409])
    def create(self, request: Request) -> Response:
        return Response(thread_fields(threads.create_thread(tenant_of(request), body_of(request, ThreadCreate))))

    @operation(
        "search_threads",
        "Find threads",
        body=ThreadSearch,
        answers={200: schema.Threads},
        parameters=schema.PAGES,
    )
    def search(self, request: Request) -> Response:
        query = body_of(request, ThreadSearch)
        return page(threads.search_threads(tenant_of(request), query), query, thread_fields)

    @operation("get_thread", "Get a thread", answers={200: schema.Thread}, refusals=[404])
    def retrieve(self, request: Request, thread_id: str) -> Response:
        return Response(thread_fields(threads.get_thread(tenant_of(request), thread_id)))

    @operation(
        "patch_thread",
        "Merge keys into a thread's metadata",
        body=ThreadPatch,
        answers={200: schema.Thread, 204: schema.EMPTY},
        parameters=[schema.MINIMAL],
        refusals=[404],
    )
    def partial_update(self, request: Request, thread_id: str) -> Response:
        changed = threads.patch_thread(tenant_of(request), thread_id, body_of(request, ThreadPatch))
        if request.headers.get("Prefer") == "return=minimal":
            return Response(status=204)
        return Response(thread_fields(changed))

    @operation("delete_thread", "Delete a thread with its runs", answers={204: schema.EMPTY}, refusals=[404])
    def destroy(self, request: Request, thread_id: str) -> Response:
        threads.delete_thread(tenant_of(request), thread_id)
        return Response(status=204)


class StateViewSet(ApiViewSet):
    required_permissions = {
        "retrieve": "threads:read",
        "at_checkpoint": "threads:read",
        "by_checkpoint": "threads:read",
        "history": "threads:read",
        "update": "threads:write",
    }

    @operation(
        "get_state",
        "Get the latest state of a thread",
        answers={200: schema.ThreadState},
        parameters=[schema.SUBGRAPHS],
        refusals=[404],
    )
    def retrieve(self, request: Request, thread_id: str) -> Response:
        return self._state(request, thread_id, CheckpointBody(), subgraphs=flag(request, "subgraphs"))

    @operation(
        "get_state_at",
        "Get the state of a thread at a checkpoint",
        answers={200: schema.ThreadState},
        parameters=[schema.SUBGRAPHS],
        refusals=[404],
    )
    def at_checkpoint(self, request: Request, thread_id: str, checkpoint_id: str) -> Response:
        if not is_checkpoint_id(checkpoint_id):
            raise NotFound(state.NOT_FOUND)
        checkpoint = CheckpointBody(checkpoint_id=checkpoint_id)
        return self._state(request, thread_id, checkpoint, subgraphs=flag(request, "subgraphs"))

    @operation(
        "get_state_by_checkpoint",
        "Get the state of a thread, or of a subgraph of it, at a checkpoint",
        body=CheckpointQuery,
        answers={200: schema.ThreadState},
        refusals=[404],
    )
    def by_checkpoint(self, request: Request, thread_id: str) -> Response:
        query = body_of(request, CheckpointQuery)
        return self._state(request, thread_id, query.checkpoint, subgraphs=query.subgraphs)

    @operation(
        "update_state",
        "Write values as if a node had",
        body=StateUpdate,
        answers={200: schema.StateWritten},
        refusals=[404, 409],
    )
    def update(self, request: Request, thread_id: str) -> Response:
        return Response(state.update_state(tenant_of(request), thread_id, body_of(request, StateUpdate)))

    @operation(
        "search_history",
        "List the states of a thread",
        body=HistoryQuery,
        answers={200: schema.ThreadStates},
        refusals=[404],
        method="POST",
    )
    @operation(
        "list_history",
        "List the latest states of a thread",
        answers={200: schema.ThreadStates},
        parameters=[schema.LIMIT],
        refusals=[404],
        method="GET",
    )
    def history(self, request: Request, thread_id: str) -> Response:
        if request.method == "GET":
            query = HistoryQuery(limit=integer(request, "limit", 10, at_least=1, at_most=_MAX_LIMIT))
        else:
            query = body_of(request, HistoryQuery)
        return Response(state.get_history(tenant_of(request), thread_id, query))

    def _state(self, request: Request, thread_id: str, checkpoint: CheckpointBody, *, subgraphs: bool) -> Response:
        return Response(state.get_state(tenant_of(request), thread_id, checkpoint, subgraphs=subgraphs))
