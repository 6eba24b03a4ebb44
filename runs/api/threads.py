from rest_framework.request import Request
from rest_framework.response import Response

from runs.api.base import ApiViewSet, page
from runs.api.query import body_of, flag, integer, tenant_of
from runs.api.shapes import thread_fields
from runs.protocol.requests import (
    CheckpointBody,
    CheckpointQuery,
    HistoryQuery,
    StateUpdate,
    ThreadCreate,
    ThreadPatch,
    ThreadSearch,
)
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

    def create(self, request: Request) -> Response:
        return Response(thread_fields(threads.create_thread(tenant_of(request), body_of(request, ThreadCreate))))

    def search(self, request: Request) -> Response:
        query = body_of(request, ThreadSearch)
        return page(threads.search_threads(tenant_of(request), query), query, thread_fields)

    def retrieve(self, request: Request, thread_id: str) -> Response:
        return Response(thread_fields(threads.get_thread(tenant_of(request), thread_id)))

    def partial_update(self, request: Request, thread_id: str) -> Response:
        changed = threads.patch_thread(tenant_of(request), thread_id, body_of(request, ThreadPatch))
        if request.headers.get("Prefer") == "return=minimal":
            return Response(status=204)
        return Response(thread_fields(changed))

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

    def retrieve(self, request: Request, thread_id: str) -> Response:
        return self._state(request, thread_id, CheckpointBody(), subgraphs=flag(request, "subgraphs"))

    def at_checkpoint(self, request: Request, thread_id: str, checkpoint_id: str) -> Response:
        checkpoint = CheckpointBody(checkpoint_id=checkpoint_id)
        return self._state(request, thread_id, checkpoint, subgraphs=flag(request, "subgraphs"))

    def by_checkpoint(self, request: Request, thread_id: str) -> Response:
        query = body_of(request, CheckpointQuery)
        return self._state(request, thread_id, query.checkpoint, subgraphs=query.subgraphs)

    def update(self, request: Request, thread_id: str) -> Response:
        return Response(state.update_state(tenant_of(request), thread_id, body_of(request, StateUpdate)))

    def history(self, request: Request, thread_id: str) -> Response:
        if request.method == "GET":
            query = HistoryQuery(limit=integer(request, "limit", 10, at_least=1, at_most=_MAX_LIMIT))
        else:
            query = body_of(request, HistoryQuery)
        return Response(state.get_history(tenant_of(request), thread_id, query))

    def _state(self, request: Request, thread_id: str, checkpoint: CheckpointBody, *, subgraphs: bool) -> Response:
        return Response(state.get_state(tenant_of(request), thread_id, checkpoint, subgraphs=subgraphs))
