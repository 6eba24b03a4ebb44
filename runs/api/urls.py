"""The LangGraph API. Included twice by the site: at the root and under /api."""

from django.urls import path

from runs.api.assistants import AssistantViewSet
from runs.api.runs import RunViewSet, StatelessRunViewSet
from runs.api.threads import StateViewSet, ThreadViewSet

urlpatterns = [
    path("assistants", AssistantViewSet.as_view({"post": "create"})),
    path("assistants/search", AssistantViewSet.as_view({"post": "search"})),
    path("assistants/<str:assistant_id>", AssistantViewSet.as_view({"get": "retrieve"})),
    path("threads", ThreadViewSet.as_view({"post": "create"})),
    path("threads/search", ThreadViewSet.as_view({"post": "search"})),
    path(
        "threads/<str:thread_id>",
        ThreadViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
    ),
    path("threads/<str:thread_id>/state", StateViewSet.as_view({"get": "retrieve", "post": "update"})),
    path("threads/<str:thread_id>/state/checkpoint", StateViewSet.as_view({"post": "by_checkpoint"})),
    path("threads/<str:thread_id>/state/<str:checkpoint_id>", StateViewSet.as_view({"get": "at_checkpoint"})),
    path("threads/<str:thread_id>/history", StateViewSet.as_view({"get": "history", "post": "history"})),
    path("threads/<str:thread_id>/runs", RunViewSet.as_view({"post": "create", "get": "list"})),
    path("threads/<str:thread_id>/runs/stream", RunViewSet.as_view({"post": "stream"})),
    path("threads/<str:thread_id>/runs/wait", RunViewSet.as_view({"post": "wait"})),
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
    path("runs", StatelessRunViewSet.as_view({"post": "create"})),
    path("runs/stream", StatelessRunViewSet.as_view({"post": "stream"})),
    path("runs/wait", StatelessRunViewSet.as_view({"post": "wait"})),
]
