"""When a schedule is due, also where clocks change."""

import contextlib
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.schedules import check_schedule, check_timezone, next_time

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+00:00")


def times(schedule: str, zone: str, after: str, count: int) -> list[str]:
    found, moment = [], at(after)
    for _ in range(count):
        following = next_time(schedule, zone, after=moment)
        assert following is not None
        moment = following
        found.append(f"{moment:%m-%d %H:%M:%S}")
    return found


@pytest.mark.parametrize(
    ("schedule", "following"),
    [
        ("* * * * *", "2026-01-01T00:01:00"),
        ("*/15 * * * *", "2026-01-01T00:15:00"),
        ("27 15 * * *", "2026-01-01T15:27:00"),
        ("0 9 * * MON-FRI", "2026-01-01T09:00:00"),
        ("0 0 1 1 *", "2027-01-01T00:00:00"),
        ("0 0 29 2 *", "2028-02-29T00:00:00"),
        ("0 0 L * *", "2026-01-31T00:00:00"),
        ("*/10 * * * * *", "2026-01-01T00:00:10"),
        ("30 0 12 * * *", "2026-01-01T12:00:30"),
    ],
)
def test_a_schedule_has_times(schedule: str, following: str) -> None:
    assert check_schedule(schedule) == schedule
    assert next_time(schedule, "", after=NEW_YEAR) == at(following)


@pytest.mark.parametrize(
    "schedule",
    ["", " ", "x", "@daily", "* * * *", "* * * * * * *", "60 * * * *", "* 24 * * *", "0 0 30 2 *", "*/0 * * * *"],
)
def test_what_is_no_schedule_is_refused(schedule: str) -> None:
    with pytest.raises(ValueError, match="schedule"):
        check_schedule(schedule)


@given(st.text(st.sampled_from("0123456789*/-,#LWMONFEB \t²\0"), max_size=40))
def test_no_text_is_worse_than_no_schedule(text: str) -> None:
    with contextlib.suppress(ValueError):
        next_time(check_schedule(text), "Europe/Berlin", after=NEW_YEAR)


@pytest.mark.parametrize(
    "name",
    [
        *("", "Mars/Olympus", "Europe", "../etc/passwd", "/etc/localtime", "utc\0", "x" * 300),
        *("localtime", "Factory", "posix/UTC", "right/UTC"),
    ],
)
def test_what_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="time zone"):
        check_timezone(name)


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires"])
def test_zones_are_known_by_name(name: str) -> None:
    assert check_timezone(name) == name


def test_a_time_of_day_is_that_of_the_zone() -> None:
    assert times("0 9 * * *", "America/New_York", "2026-07-01T00:00:00", 1) == ["07-01 13:00:00"]
    assert times("0 9 * * *", "America/New_York", "2026-12-01T00:00:00", 1) == ["12-01 14:00:00"]
    assert times("0 9 * * *", "", "2026-07-01T00:00:00", 1) == ["07-01 09:00:00"]


def test_a_time_that_the_clock_leaves_out_is_taken_after_the_gap() -> None:
    """In Berlin, on 29 March, 02:00 is 03:00."""
    assert times("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00", 3) == [
        "03-28 01:30:00",
        "03-29 01:00:00",
        "03-30 00:30:00",
    ]


def test_a_time_that_the_clock_shows_twice_is_taken_once() -> None:
    """In Berlin, on 25 October, 03:00 is 02:00 again."""
    assert times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00", 2) == ["10-25 00:30:00", "10-26 01:30:00"]


def test_a_look_within_the_second_of_two_equal_hours_goes_not_back() -> None:
    assert times("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00", 1) == ["10-26 01:30:00"]


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
def test_what_comes_every_quarter_goes_on_as_time_does(day: str) -> None:
    found = times("*/15 * * * *", "Europe/Berlin", f"{day}T00:00:00", 12)
    moments = [datetime.strptime(f"2026-{text}", "%Y-%m-%d %H:%M:%S") for text in found]
    assert {later - earlier for earlier, later in pairwise(moments)} == {timedelta(minutes=15)}


def test_the_next_time_is_later_than_now_and_not_later_than_the_end() -> None:
    assert next_time("0 * * * *", "", after=at("2026-01-01T09:00:00")) == at("2026-01-01T10:00:00")
    assert next_time("0 * * * *", "", after=at("2026-01-01T08:59:59.999999")) == at("2026-01-01T09:00:00")
    end = at("2026-01-01T10:00:00")
    assert next_time("0 * * * *", "", after=at("2026-01-01T09:00:00"), until=end) == end
    assert next_time("0 * * * *", "", after=end, until=end) is None
