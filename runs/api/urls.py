"""The LangGraph API. Included twice by the site: at the root and under /api."""

from django.urls import path

from runs.api.assistants import AssistantViewSet, GraphViewSet
from runs.api.commands import CommandViewSet
from runs.api.creation import AllRunsViewSet, ThreadRunsViewSet
from runs.api.crons import CronViewSet
from runs.api.messages import MessageViewSet, RunMessageViewSet
from runs.api.runs import RunByIdViewSet, RunViewSet
from runs.api.store import StoreViewSet
from runs.api.threads import StateViewSet, ThreadViewSet

urlpatterns = [
    path("assistants", AssistantViewSet.as_view({"post": "create"})),
    path("assistants/search", AssistantViewSet.as_view({"post": "search"})),
    path("assistants/count", AssistantViewSet.as_view({"post": "count"})),
    path(
        "assistants/<str:assistant_id>",
        AssistantViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
    ),
    path("assistants/<str:assistant_id>/versions", AssistantViewSet.as_view({"post": "versions"})),
    path("assistants/<str:assistant_id>/latest", AssistantViewSet.as_view({"post": "set_latest"})),
    path("assistants/<str:assistant_id>/graph", GraphViewSet.as_view({"get": "drawing"})),
    path("assistants/<str:assistant_id>/schemas", GraphViewSet.as_view({"get": "schemas"})),
    path("assistants/<str:assistant_id>/subgraphs", GraphViewSet.as_view({"get": "subgraphs"})),
    path("assistants/<str:assistant_id>/subgraphs/<str:namespace>", GraphViewSet.as_view({"get": "subgraph"})),
    path("threads", ThreadViewSet.as_view({"post": "create"})),
    path("threads/search", ThreadViewSet.as_view({"post": "search"})),
    path("threads/count", ThreadViewSet.as_view({"post": "count"})),
    path("threads/prune", ThreadViewSet.as_view({"post": "prune"})),
    path(
        "threads/<str:thread_id>",
        ThreadViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
    ),
    path("threads/<str:thread_id>/copy", ThreadViewSet.as_view({"post": "copy"})),
    path("threads/<str:thread_id>/storage", ThreadViewSet.as_view({"get": "storage"})),
    path("threads/<str:thread_id>/stream", ThreadViewSet.as_view({"get": "stream"})),
    path("threads/<str:thread_id>/commands", CommandViewSet.as_view({"post": "perform"})),
    path("threads/<str:thread_id>/stream/events", ThreadViewSet.as_view({"post": "events"})),
    path("threads/<str:thread_id>/commands", CommandViewSet.as_view({"post": "perform"})),
    path("threads/<str:thread_id>/state", StateViewSet.as_view({"get": "retrieve", "post": "update"})),
    path("threads/<str:thread_id>/state/checkpoint", StateViewSet.as_view({"post": "by_checkpoint"})),
    path("threads/<str:thread_id>/state/<str:checkpoint_id>", StateViewSet.as_view({"get": "at_checkpoint"})),
    path("threads/<str:thread_id>/history", StateViewSet.as_view({"get": "history", "post": "history"})),
    path("threads/<str:thread_id>/messages", MessageViewSet.as_view({"get": "list"})),
    path("threads/<str:thread_id>/messages/page", MessageViewSet.as_view({"get": "page"})),
    path("threads/<str:thread_id>/token-usage", MessageViewSet.as_view({"get": "usage"})),
    path("threads/<str:thread_id>/runs", ThreadRunsViewSet.as_view({"post": "create", "get": "list"})),
    path("threads/<str:thread_id>/runs/stream", ThreadRunsViewSet.as_view({"post": "stream"})),
    path("threads/<str:thread_id>/runs/wait", ThreadRunsViewSet.as_view({"post": "wait"})),
    path("threads/<str:thread_id>/runs/crons", CronViewSet.as_view({"post": "create_for_thread"})),
    path(
        "threads/<str:thread_id>/runs/<str:run_id>",
        RunViewSet.as_view({"get": "retrieve", "delete": "destroy"}),
    ),
    path("threads/<str:thread_id>/runs/<str:run_id>/join", RunViewSet.as_view({"get": "join"})),
    path(
        "threads/<str:thread_id>/runs/<str:run_id>/stream",
        RunViewSet.as_view({"get": "join_stream", "post": "join_stream"}),
    ),
    path("threads/<str:thread_id>/runs/<str:run_id>/cancel", RunViewSet.as_view({"post": "cancel"})),
    path("runs/crons", CronViewSet.as_view({"post": "create"})),
    path("runs/crons/search", CronViewSet.as_view({"post": "search"})),
    path("runs/crons/count", CronViewSet.as_view({"post": "count"})),
    path(
        "runs/crons/<str:cron_id>",
        CronViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
    ),
    path("threads/<str:thread_id>/runs/<str:run_id>/messages", MessageViewSet.as_view({"get": "of_run"})),
    path("threads/<str:thread_id>/runs/<str:run_id>/events", MessageViewSet.as_view({"get": "events"})),
    path("runs", AllRunsViewSet.as_view({"post": "create"})),
    path("runs/stream", AllRunsViewSet.as_view({"post": "stream"})),
    path("runs/wait", AllRunsViewSet.as_view({"post": "wait"})),
    path("runs/batch", AllRunsViewSet.as_view({"post": "batch"})),
    path("runs/cancel", AllRunsViewSet.as_view({"post": "cancel_many"})),
    path("runs/<str:run_id>", RunByIdViewSet.as_view({"get": "retrieve", "delete": "destroy"})),
    path("runs/<str:run_id>/join", RunByIdViewSet.as_view({"get": "join"})),
    path("runs/<str:run_id>/stream", RunByIdViewSet.as_view({"get": "join_stream", "post": "join_stream"})),
    path("runs/<str:run_id>/cancel", RunByIdViewSet.as_view({"post": "cancel"})),
    path("runs/<str:run_id>/messages", RunMessageViewSet.as_view({"get": "of_run"})),
    path("store/items", StoreViewSet.as_view({"put": "update", "get": "retrieve", "delete": "destroy"})),
    path("store/items/search", StoreViewSet.as_view({"post": "search"})),
    path("store/namespaces", StoreViewSet.as_view({"post": "namespaces"})),
]
