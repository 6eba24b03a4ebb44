from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from runs.api import schema
from runs.api.base import ApiViewSet
from runs.api.message_shapes import event_fields, message_fields, usage_fields
from runs.api.query import flag, integer, tenant_of
from runs.api.schema import operation
from runs.exceptions import Invalid
from runs.models import Message
from runs.services import messages
from runs.services.messages import Cursor, Page

_MAX_MESSAGES = 200
_MAX_EVENTS = 2000
_MAX_SEQ = 2**63 - 1
_MAX_NAME = 64


class MessageViewSet(ApiViewSet):
    """What was said and used: of a thread, or of one run."""

    required_permissions = {
        "list": "threads:read",
        "page": "threads:read",
        "of_run": "runs:read",
        "events": "runs:read",
        "usage": "threads:read",
    }

    @operation(
        "list_messages",
        "List the messages of a thread",
        answers={200: schema.Messages},
        parameters=schema.MESSAGES,
        refusals=[404],
    )
    def list(self, request: Request, thread_id: str) -> Response:
        return Response(_rows(messages.thread_messages(tenant_of(request), thread_id, _cursor(request))))

    @operation(
        "page_messages",
        "Read the conversation of a thread, the newest page first",
        answers={200: schema.MessagePage},
        parameters=schema.MESSAGES_BEFORE,
        refusals=[404],
    )
    def page(self, request: Request, thread_id: str) -> Response:
        if "after_seq" in request.query_params:
            raise Invalid(("query", "after_seq"), "is not taken here: pages go back from the newest")
        found = messages.thread_messages(tenant_of(request), thread_id, _cursor(request), with_helpers=False)
        next_before = found.rows[0].seq if found.has_more else None
        return Response({"data": _rows(found), "has_more": found.has_more, "next_before_seq": next_before})

    @operation(
        "list_run_messages",
        "List the messages that a run brought",
        answers={200: schema.RunMessages},
        parameters=schema.MESSAGES,
        refusals=[404],
    )
    def of_run(self, request: Request, thread_id: str, run_id: str) -> Response:
        return _of_run(request, thread_id, run_id)

    @operation(
        "list_run_events",
        "List what happened in a run: its messages, its start and its end",
        answers={200: schema.Events},
        parameters=schema.EVENTS,
        refusals=[404],
    )
    def events(self, request: Request, thread_id: str, run_id: str) -> Response:
        found = messages.run_events(
            tenant_of(request),
            thread_id,
            run_id,
            after=_seq(request, "after_seq") or 0,
            limit=integer(request, "limit", 500, at_least=1, at_most=_MAX_EVENTS),
            event_types=_event_types(request),
            task_id=_name(request, "task_id"),
        )
        return Response([message_fields(row) if isinstance(row, Message) else event_fields(row) for row in found])

    @operation(
        "get_token_usage",
        "Add up what the runs of a thread have used",
        answers={200: schema.TokenUsage},
        parameters=[schema.INCLUDE_ACTIVE],
        refusals=[404],
    )
    def usage(self, request: Request, thread_id: str) -> Response:
        active = flag(request, "include_active")
        return Response(usage_fields(messages.token_usage(tenant_of(request), thread_id, include_active=active)))


class RunMessageViewSet(ApiViewSet):
    """The messages of a run that is named without its thread."""

    required_permissions = {"of_run": "runs:read"}

    @operation(
        "list_messages_of_run",
        "List the messages that a run brought, by the run's id alone",
        answers={200: schema.RunMessages},
        parameters=schema.MESSAGES,
        refusals=[404],
    )
    def of_run(self, request: Request, run_id: str) -> Response:
        return _of_run(request, None, run_id)


def _of_run(request: Request, thread_id: str | None, run_id: str) -> Response:
    found = messages.run_messages(tenant_of(request), thread_id, run_id, _cursor(request))
    return Response({"data": _rows(found), "has_more": found.has_more, "hasMore": found.has_more})


def _rows(page: Page) -> list[dict[str, Any]]:
    return [message_fields(row, page.durations.get(row.pk)) for row in page.rows]


def _cursor(request: Request) -> Cursor:
    return Cursor(
        integer(request, "limit", 50, at_least=1, at_most=_MAX_MESSAGES),
        after=_seq(request, "after_seq"),
        before=_seq(request, "before_seq"),
    )


def _seq(request: Request, name: str) -> int | None:
    return integer(request, name, 0, at_least=1, at_most=_MAX_SEQ) or None


def _event_types(request: Request) -> frozenset[str]:
    """Types to show, with commas between them; those that nobody knows show nothing."""
    return frozenset(name for name in request.query_params.get("event_types", "").split(",") if name)


def _name(request: Request, name: str) -> str | None:
    value = request.query_params.get(name)
    if value is not None and not (value.isascii() and value.isprintable() and 0 < len(value) <= _MAX_NAME):
        raise Invalid(("query", name), f"must be 1 to {_MAX_NAME} printable ASCII characters")
    return value
