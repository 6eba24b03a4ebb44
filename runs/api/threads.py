from django.http.response import HttpResponseBase
from pydantic import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from runs.api import schema
from runs.api.base import ApiViewSet, prefix_of
from runs.api.query import body_of, choices, flag, integer, last_event_id, tenant_of
from runs.api.schema import operation
from runs.api.shapes import extracted, lifetime_fields, thread_fields
from runs.api.streaming import events_response, thread_response
from runs.exceptions import Invalid, NotFound
from runs.identifiers import is_checkpoint_id, is_thread_id
from runs.protocol.requests.base import CheckpointBody, Nothing
from runs.protocol.requests.events import Subscription
from runs.protocol.requests.state import CheckpointQuery, HistoryQuery, StateSelection, StateUpdate
from runs.protocol.requests.threads import ThreadCount, ThreadCreate, ThreadPatch, ThreadPrune, ThreadSearch
from runs.protocol.thread_stream import THREAD_MODES
from runs.services import state, thread_copies, thread_search, thread_storage, threads

_MAX_LIMIT = 1000
_INCLUDABLE = frozenset({"ttl"})


class ThreadViewSet(ApiViewSet):
    required_permissions = {
        "create": "threads:write",
        "search": "threads:read",
        "count": "threads:read",
        "retrieve": "threads:read",
        "partial_update": "threads:write",
        "destroy": "threads:delete",
        "copy": "threads:write",
        "prune": "threads:delete",
        "storage": "threads:read",
        "stream": "threads:read",
        "events": "threads:read",
    }

    @operation("create_thread", "Make a thread", body=ThreadCreate, answers={200: schema.Thread}, refusals=[409])
    def create(self, request: Request) -> Response:
        body = body_of(request, ThreadCreate)
        # DeerFlow's clients, who are below /api, make a thread again to be sure that it is there.
        idempotent = prefix_of(request) == "/api"
        make = thread_copies.create_with_supersteps if body.supersteps else threads.create_thread
        thread = make(tenant_of(request), body, idempotent=idempotent)
        return Response(thread_fields(thread))

    @operation(
        "search_threads",
        "Find threads",
        body=ThreadSearch,
        answers={200: schema.Threads},
        parameters=schema.PAGES,
    )
    def search(self, request: Request) -> Response:
        query = body_of(request, ThreadSearch)
        found = thread_search.search_threads(tenant_of(request), query)
        shown = [thread_fields(thread, query.select) for thread in found.threads]
        if query.extract is not None:
            for fields, thread in zip(shown, found.threads, strict=True):
                fields["extracted"] = extracted(thread, query.extract)
        headers = {"x-pagination-total": str(found.total)}
        if found.total > query.offset + query.limit:
            headers["x-pagination-next"] = str(query.offset + query.limit)
        return Response(shown, headers=headers)

    @operation("count_threads", "Count threads", body=ThreadCount, answers={200: schema.Count})
    def count(self, request: Request) -> Response:
        return Response(thread_search.count_threads(tenant_of(request), body_of(request, ThreadCount)))

    @operation("get_thread", "Get a thread", answers={200: schema.Thread}, parameters=[schema.INCLUDE], refusals=[404])
    def retrieve(self, request: Request, thread_id: str) -> Response:
        included = choices(request, "include", _INCLUDABLE)
        thread = threads.get_thread(tenant_of(request), thread_id)
        return Response(thread_fields(thread) | ({"ttl": lifetime_fields(thread)} if included else {}))

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

    @operation("copy_thread", "Copy a thread", body=Nothing, answers={200: schema.Thread}, refusals=[404])
    def copy(self, request: Request, thread_id: str) -> Response:
        body_of(request, Nothing)
        return Response(thread_fields(thread_copies.copy_thread(tenant_of(request), thread_id)))

    @operation(
        "prune_threads",
        "Delete threads, or all but their latest states",
        body=ThreadPrune,
        answers={200: schema.Pruned},
    )
    def prune(self, request: Request) -> Response:
        pruned = thread_storage.prune_threads(tenant_of(request), body_of(request, ThreadPrune))
        return Response({"pruned_count": pruned})

    @operation("get_storage", "Tell what a thread takes up", answers={200: schema.Storage}, refusals=[404])
    def storage(self, request: Request, thread_id: str) -> Response:
        return Response(thread_storage.storage_of(tenant_of(request), thread_id))

    @operation(
        "stream_thread",
        "Follow a thread across its runs",
        answers=schema.STREAM,
        parameters=[schema.LAST_EVENT_ID, schema.THREAD_MODE],
        refusals=[404],
    )
    def stream(self, request: Request, thread_id: str) -> HttpResponseBase:
        modes = choices(request, "stream_mode", THREAD_MODES) or ["run_modes"]
        after = last_event_id(request)
        tenant = tenant_of(request)
        thread = threads.get_thread(tenant, thread_id)
        return thread_response(tenant, thread, modes, after=thread.last_seq if after is None else after)

    @operation(
        "stream_events",
        "Subscribe to the events of a thread",
        body=Subscription,
        answers=schema.EVENT_STREAM,
        refusals=[404],
    )
    def events(self, request: Request, thread_id: str) -> HttpResponseBase:
        asked = body_of(request, Subscription)
        if not is_thread_id(thread_id):
            raise NotFound(threads.NOT_FOUND)
        return events_response(tenant_of(request), thread_id, asked.selection, asked.since)


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
        answers={200: schema.AnyThreadState},
        parameters=[schema.SUBGRAPHS, schema.STATE_SELECT],
        refusals=[404],
    )
    def retrieve(self, request: Request, thread_id: str) -> Response:
        return self._state(request, thread_id, CheckpointBody())

    @operation(
        "get_state_at",
        "Get the state of a thread at a checkpoint",
        answers={200: schema.AnyThreadState},
        parameters=[schema.SUBGRAPHS, schema.STATE_SELECT],
        refusals=[404],
    )
    def at_checkpoint(self, request: Request, thread_id: str, checkpoint_id: str) -> Response:
        if not is_checkpoint_id(checkpoint_id):
            raise NotFound(state.NOT_FOUND)
        return self._state(request, thread_id, CheckpointBody(checkpoint_id=checkpoint_id))

    @operation(
        "get_state_by_checkpoint",
        "Get the state of a thread, or of a subgraph of it, at a checkpoint",
        body=CheckpointQuery,
        answers={200: schema.AnyThreadState},
        refusals=[404],
    )
    def by_checkpoint(self, request: Request, thread_id: str) -> Response:
        query = body_of(request, CheckpointQuery)
        return Response(state.get_state(tenant_of(request), thread_id, query))

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

    def _state(self, request: Request, thread_id: str, checkpoint: CheckpointBody) -> Response:
        subgraphs, select = flag(request, "subgraphs"), _selection(request)
        query = CheckpointQuery(checkpoint=checkpoint, subgraphs=subgraphs, select=select)
        return Response(state.get_state(tenant_of(request), thread_id, query))


def _selection(request: Request) -> list[str] | None:
    try:
        return StateSelection(select=request.query_params.getlist("select") or None).select
    except ValidationError:
        raise Invalid(("query", "select"), "must be keys of a state, or values.<key>") from None
