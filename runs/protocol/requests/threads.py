"""Threads: made, changed and found."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from runs.protocol.requests.base import Body, Json, Search, check_thread_id


class ThreadCreate(Body):
    thread_id: str | None = None
    metadata: Json | None = None
    if_exists: Literal["raise", "do_nothing"] | None = None

    _thread_id = field_validator("thread_id")(check_thread_id)


class ThreadPatch(Body):
    metadata: Json | None = None


#: `context` is a name that clients may know and that threads here do not have.
ThreadField = Literal[
    "thread_id",
    "created_at",
    "updated_at",
    "state_updated_at",
    "metadata",
    "status",
    "config",
    "context",
    "values",
    "interrupts",
    "error",
]


class ThreadSearch(Search):
    ids: list[str] | None = Field(default=None, max_length=1000)
    status: Literal["idle", "busy", "interrupted", "error"] | None = None
    sort_by: Literal["thread_id", "status", "created_at", "updated_at", "state_updated_at"] | None = None
    select: Annotated[list[ThreadField], Field(max_length=50)] | None = None
