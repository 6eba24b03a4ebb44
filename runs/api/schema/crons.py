from typing import Literal
from uuid import UUID

from pydantic import AwareDatetime, RootModel

from runs.api.schema.base import Shape
from runs.protocol.requests.base import Json


class Cron(Shape):
    cron_id: UUID
    assistant_id: UUID
    thread_id: str | None
    user_id: UUID | None
    schedule: str
    timezone: str | None
    end_time: AwareDatetime | None
    next_run_date: AwareDatetime | None
    enabled: bool
    on_run_completed: Literal["delete", "keep"] | None
    payload: Json
    metadata: Json
    created_at: AwareDatetime
    updated_at: AwareDatetime


class Crons(RootModel[list[Cron | Json]]):
    """Whole, or with the keys that `select` names."""
