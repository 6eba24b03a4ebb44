"""Crons: runs that are asked for again and again."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BeforeValidator, Field, StringConstraints, field_validator

from runs.protocol.requests.base import Body, Filter, Search, check_thread_id
from runs.protocol.requests.runs import RunRequest
from runs.schedules import check_schedule, check_timezone


def _moment(value: Any) -> Any:
    """A time as JSON tells it, in UTC: databases and other zones do not reach as far as Python's years."""
    if not isinstance(value, str):
        return value
    try:
        moment = datetime.fromisoformat(value)
        # A time without an offset would be read as this machine's.
        return moment.astimezone(UTC) if moment.tzinfo else moment
    except (ValueError, OverflowError):
        raise ValueError("must be a time like 2030-01-31T12:00:00+00:00") from None


Moment = Annotated[AwareDatetime, BeforeValidator(_moment)]
Schedule = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Zone = Annotated[str, StringConstraints(max_length=64)]


#: What is said of the cron itself.
_OWN = {"assistant_id", "metadata", "schedule", "timezone", "end_time", "enabled", "on_run_completed"}


class CronPatch(RunRequest):
    """What may be said of a cron once it is there; the options of a run, where they mean anything without a caller."""

    assistant_id: None = None
    on_disconnect: None = None
    on_completion: None = None
    if_not_exists: None = None
    after_seconds: None = None
    follow_up_to_run_id: None = None
    checkpoint_id: None = None
    checkpoint: None = None

    schedule: Schedule | None = None
    timezone: Zone | None = None
    end_time: Moment | None = None
    enabled: bool | None = None
    on_run_completed: Literal["delete", "keep"] | None = None

    @field_validator("schedule")
    @classmethod
    def _schedule(cls, value: str | None) -> str | None:
        return value if value is None else check_schedule(value)

    @field_validator("timezone")
    @classmethod
    def _timezone(cls, value: str | None) -> str | None:
        return value if value is None else check_timezone(value)

    def options(self) -> dict[str, Any]:
        """The options of runs among what was said, as JSON; None where one was taken back."""
        said: dict[str, Any] = self.model_dump(mode="json", exclude_unset=True, exclude=_OWN)
        return said


class CronCreate(CronPatch):
    assistant_id: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None  # type: ignore[assignment]
    schedule: Schedule


#: `now` is a name that clients may know and that crons here do not have.
CronField = Literal[
    "cron_id",
    "assistant_id",
    "thread_id",
    "end_time",
    "schedule",
    "timezone",
    "created_at",
    "updated_at",
    "user_id",
    "payload",
    "next_run_date",
    "metadata",
    "now",
    "on_run_completed",
    "enabled",
]


class CronCount(Body):
    assistant_id: Annotated[str, StringConstraints(max_length=64)] | None = None
    thread_id: str | None = None
    enabled: bool | None = None
    metadata: Filter | None = None

    _thread_id = field_validator("thread_id")(check_thread_id)


class CronSearch(CronCount, Search):
    sort_by: (
        Literal["cron_id", "assistant_id", "thread_id", "created_at", "updated_at", "next_run_date", "end_time"] | None
    ) = None
    select: Annotated[list[CronField], Field(max_length=50)] | None = None
