"""Operators' view of assistants, threads and runs: to look, and to cancel.

Nothing is written here but by `runs.lifecycle`: a form would pass by the locks and the transitions that everybody else
keeps to. What callers configured their runs with may hold keys of theirs, and is not shown.
"""

import json
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import JSONField, Model, Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from runs import lifecycle
from runs.addresses import receiver_of
from runs.identifiers import is_uuid
from runs.lifecycle import CancelResult
from runs.lifecycle.deliveries import send_again
from runs.models import Assistant, Cron, Delivery, EventChunk, Graph, Run, Thread, WebhookEndpoint
from runs.models.run import RunQuerySet
from runs.records import decompress
from runs.states import CancelAction

#: Columns that may hold secrets of callers: neither shown nor searched.
SECRET = frozenset({"kwargs", "config", "context", "claim", "webhook", "url", "payload"})
_MAX_TEXT = 100_000


class LookOnly(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows to look at."""

    # There may be millions: they are not counted, and sorted by an index.
    show_full_result_count = False
    ordering = ("-pk",)
    #: What may be found by an id.
    ids: ClassVar[tuple[str, ...]] = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        if self.ids and is_uuid(search_term):
            return queryset.filter(Q.create([(name, search_term) for name in self.ids], connector=Q.OR)), False
        return super().get_search_results(request, queryset, search_term)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        parts = lookup.split("__")
        # What a lookup into JSON can do differs between databases, and what it can not is an error.
        into_json = any(isinstance(field, JSONField) for field in self.opts.fields if field.name == parts[0])
        return SECRET.isdisjoint(parts) and not into_json and super().lookup_allowed(lookup, value, request)


def _block(text: str) -> SafeString:
    return format_html('<pre style="white-space: pre-wrap">{}</pre>', text[:_MAX_TEXT])


def _json(value: Any) -> SafeString:
    return _block(json.dumps(value, indent=2, ensure_ascii=False))


@admin.register(Graph)
class GraphAdmin(LookOnly):
    list_display = ("graph_id", "can_run")
    search_fields = ("graph_id",)
    ordering = ("graph_id",)

    @admin.display(boolean=True)
    def can_run(self, graph: Graph) -> bool:
        return not graph.error


@admin.register(Assistant)
class AssistantAdmin(LookOnly):
    list_display = ("name", "assistant_id", "graph", "organization", "owner", "version", "updated_at")
    list_filter = (("graph", admin.RelatedOnlyFieldListFilter), ("organization", admin.EmptyFieldListFilter))
    list_select_related = ("organization", "owner")
    search_fields = ("name", "organization__name")
    ids = ("assistant_id", "organization_id", "owner_id")
    fields = (
        "assistant_id",
        "name",
        "description",
        "graph",
        "organization",
        "owner",
        "version",
        "metadata",
        "created_at",
        "updated_at",
    )


@admin.register(Thread)
class ThreadAdmin(LookOnly):
    list_display = ("thread_id", "status", "graph_id", "organization", "owner", "shared", "temporary", "updated_at")
    list_filter = ("status", "shared", "temporary", "updated_at")
    list_select_related = ("organization", "owner")
    search_fields = ("thread_id__exact", "owner__email", "organization__name")
    ids = ("thread_id", "organization_id", "owner_id")
    fields = (
        "thread_id",
        "organization",
        "owner",
        "shared",
        "temporary",
        "status",
        "graph_id",
        "metadata",
        "latest_values",
        "interrupts",
        "error",
        "last_seq",
        "last_position",
        "created_at",
        "updated_at",
        "state_updated_at",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Thread]:
        """A conversation's values may be large: they are read for one thread alone."""
        return super().get_queryset(request).defer("values", "interrupts")

    @admin.display(description="values")
    def latest_values(self, thread: Thread) -> SafeString:
        return _json(thread.values)


@admin.register(Run)
class RunAdmin(LookOnly):
    list_display = ("run_id", "thread_id", "status", "graph_id", "organization", "owner", "attempt", "created_at")
    list_filter = ("status", "graph_id", "multitask_strategy", "created_at")
    list_select_related = ("organization", "owner")
    search_fields = ("thread__thread_id__exact", "owner__email", "organization__name")
    ids = ("run_id", "thread_id", "assistant_id", "organization_id", "owner_id")
    fields = (
        "run_id",
        "thread",
        "organization",
        "owner",
        "assistant",
        "graph_id",
        "status",
        "error",
        "request",
        "metadata",
        "multitask_strategy",
        "position",
        "not_before",
        "attempt",
        "crashes",
        "host",
        "lease_until",
        "cancel_action",
        "cancel_requested_at",
        "created_at",
        "started_at",
        "ended_at",
    )
    actions = ("cancel",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        return super().get_queryset(request).defer("kwargs")

    @admin.display
    def request(self, run: Run) -> SafeString:
        return _json({key: value for key, value in run.kwargs.items() if key not in SECRET})

    @admin.action(description="Cancel selected runs", permissions=["cancel"])
    def cancel(self, request: HttpRequest, selected: RunQuerySet) -> None:
        """End those that are active; what they have done so far is kept."""
        stopped = 0
        for run in selected.active():
            try:
                result = lifecycle.request_cancel(run.run_id, run.thread_id, CancelAction.INTERRUPT)
            except Run.DoesNotExist:
                continue
            if result in (CancelResult.SETTLED, CancelResult.REQUESTED):
                stopped += 1
                self.log_change(request, run, "Cancelled.")
        self.message_user(request, f"{stopped} runs are being cancelled.", messages.SUCCESS)

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return super(LookOnly, self).has_change_permission(request)


@admin.register(Cron)
class CronAdmin(LookOnly):
    list_display = ("cron_id", "schedule", "timezone", "enabled", "next_run_at", "organization", "owner", "error")
    list_filter = ("enabled", "next_run_at")
    list_select_related = ("organization", "owner")
    search_fields = ("thread__thread_id__exact", "owner__email", "organization__name")
    ids = ("cron_id", "assistant_id", "organization_id", "owner_id")
    fields = (
        "cron_id",
        "organization",
        "owner",
        "assistant",
        "thread",
        "schedule",
        "timezone",
        "end_time",
        "enabled",
        "next_run_at",
        "on_run_completed",
        "error",
        "request",
        "metadata",
        "created_at",
        "updated_at",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Cron]:
        return super().get_queryset(request).defer("payload")

    @admin.display
    def request(self, cron: Cron) -> SafeString:
        return _json({key: value for key, value in cron.payload.items() if key not in SECRET})


@admin.register(EventChunk)
class EventChunkAdmin(LookOnly):
    list_display = ("thread_id", "run_id", "first_seq", "last_seq", "created_at")
    search_fields = ("thread__thread_id__exact",)
    ids = ("thread_id", "run_id")
    fields = ("thread", "run", "first_seq", "last_seq", "created_at", "events")

    def get_queryset(self, request: HttpRequest) -> QuerySet[EventChunk]:
        return super().get_queryset(request).defer("payload")

    @admin.display
    def events(self, chunk: EventChunk) -> SafeString:
        return _block(decompress(bytes(chunk.payload)).decode())


@admin.register(Delivery)
class DeliveryAdmin(LookOnly):
    list_display = (
        *("delivery_id", "run_id", "organization", "receiver", "status", "attempts"),
        *("last_status_code", "last_error", "next_attempt_at", "created_at"),
    )
    list_filter = ("status", "created_at")
    list_select_related = ("organization",)
    search_fields = ("organization__name",)
    ids = ("delivery_id", "run_id", "organization_id")
    fields = (*list_display, "delivered_at")
    actions = ("send_again",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        return super().get_queryset(request).defer("payload", "url")

    @admin.action(description="Send selected deliveries that failed again", permissions=["send"])
    def send_again(self, request: HttpRequest, selected: QuerySet[Delivery]) -> None:
        self.message_user(request, f"{send_again(selected)} deliveries are sent again.", messages.SUCCESS)

    def has_send_permission(self, request: HttpRequest) -> bool:
        return super(LookOnly, self).has_change_permission(request)


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(LookOnly):
    list_display = ("receiver", "organization", "disabled_at")
    list_select_related = ("organization",)
    search_fields = ("organization__name",)
    fields = list_display
    actions = ("enable",)

    @admin.display
    def receiver(self, endpoint: WebhookEndpoint) -> str:
        return receiver_of(endpoint.url)

    @admin.action(description="Let runs tell selected addresses again", permissions=["enable"])
    def enable(self, request: HttpRequest, selected: QuerySet[WebhookEndpoint]) -> None:
        count, _ = selected.delete()
        self.message_user(request, f"{count} addresses are told again.", messages.SUCCESS)

    def has_enable_permission(self, request: HttpRequest) -> bool:
        return super(LookOnly, self).has_delete_permission(request)
