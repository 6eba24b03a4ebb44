from typing import Any
from uuid import UUID

from drf_spectacular.drainage import set_override
from drf_spectacular.utils import OpenApiParameter
from pydantic import AwareDatetime, RootModel

from runs.api.schema.base import Shape
from runs.protocol.requests.base import Json


class Event(Shape):
    """Something that happened in a run; of the category `message`, `content` is a message of LangChain."""

    thread_id: str
    run_id: UUID
    user_id: UUID | None
    seq: int
    event_type: str
    category: str
    content: Any
    metadata: Json
    created_at: AwareDatetime
    feedback: Json | None


class Events(RootModel[list[Event]]):
    """Oldest first."""


class Messages(RootModel[list[Event]]):
    """Oldest first."""


class MessagePage(Shape):
    data: list[Event]
    has_more: bool
    next_before_seq: int | None


class RunMessages(Shape):
    data: list[Event]
    has_more: bool
    hasMore: bool


class ModelUsage(Shape):
    tokens: int
    runs: int


class CallerUsage(Shape):
    lead_agent: int
    subagent: int
    middleware: int


class TokenUsage(Shape):
    thread_id: str
    total_tokens: int
    total_input_tokens: int
    total_output_tokens: int
    total_runs: int
    by_model: dict[str, ModelUsage]
    by_caller: CallerUsage
    context_usage: Json | None


for _list in (Events, Messages):
    set_override(_list, "many", False)  # It is a list already; the action's name would make it a list of lists.

_CURSOR = {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}
_PAGE = OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50})
_BEFORE = OpenApiParameter("before_seq", _CURSOR, description="Those before this number, the newest of them.")
_AFTER = OpenApiParameter("after_seq", _CURSOR, description="Those after this number, the oldest of them.")

MESSAGES = [_PAGE, _BEFORE, _AFTER]
MESSAGES_BEFORE = [_PAGE, _BEFORE]
EVENTS = [
    OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": 2000, "default": 500}),
    _AFTER,
    OpenApiParameter("event_types", str, description="These types only, with commas between them."),
    OpenApiParameter("task_id", {"type": "string", "maxLength": 64}, description="What was said for this task only."),
]
INCLUDE_ACTIVE = OpenApiParameter("include_active", bool, description="With what is running.")
