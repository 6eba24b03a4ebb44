"""When crons are due: schedules as cron writes them, read in a time zone. Pure: no clock.

A schedule has five fields (minute, hour, day of the month, month, day of the week), or six with seconds before them.
Where clocks change, a time of day that is left out is taken right after the gap, and one that comes twice is taken the
first time; what comes every hour or minute goes on as time does. With seconds, it is what the clock shows that counts.
"""

from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

#: Any moment of a leap year will do to see whether a schedule has times at all.
_SOME_TIME = datetime(2024, 1, 1, tzinfo=UTC)


@cache
def _zones() -> frozenset[str]:
    # The same on every machine, which may have names of its own: `localtime` is another zone on each.
    return frozenset(files("tzdata").joinpath("zones").read_text().split()) - {"Factory"}


def check_schedule(text: str) -> str:
    """Raises ValueError, with the reason, for what is no schedule or never comes."""
    try:
        next(CronSim(text, _SOME_TIME))
    except CronSimError as exc:
        raise ValueError(f"is no schedule: {exc}") from None
    except StopIteration:
        raise ValueError("is a schedule whose time never comes") from None
    return text


def check_timezone(name: str) -> str:
    """Raises ValueError for what is no name of the IANA time zone database."""
    if name not in _zones():
        raise ValueError("must be the name of a time zone, like 'Europe/Berlin'")
    return name


def next_time(schedule: str, zone: str, *, after: datetime, until: datetime | None = None) -> datetime | None:
    """The first time of a checked schedule later than `after`, in UTC; None when that is later than `until`."""
    times = CronSim(schedule, after.astimezone(ZoneInfo(zone) if zone else UTC))
    # In an hour that comes twice, a time of day may be one that has passed already.
    found = next((time for moment in times if (time := moment.astimezone(UTC)) > after), None)
    return None if found is None or (until is not None and found > until) else found
