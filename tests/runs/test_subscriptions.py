"""Where a subscription to the events of a thread begins, and what it is shown first."""

from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from accounts.tenancy import Tenant
from runs import lifecycle
from runs.identifiers import new_id
from runs.log import start_of_runs_at
from runs.models import EventChunk, Run, Thread
from runs.protocol.selection import selection
from runs.records import Record, pack, record
from runs.services import subscriptions
from runs.services.subscriptions import Start, start_of
from runs.services.threads import hold_thread
from runs.states import RunStatus, ThreadStatus
from tests.factories import make_run, make_thread, run_kwargs, tenant_of

pytestmark = pytest.mark.django_db

VALUES = selection(["values"])
MESSAGES = selection(["messages"])
DONE = {"status": RunStatus.SUCCESS}
RUNNING = {"status": RunStatus.RUNNING}


@pytest.fixture
def tenant(alice: User, acme: object) -> Tenant:
    return tenant_of(alice)


@pytest.fixture
def thread(tenant: Tenant) -> Thread:
    return make_thread(tenant)


def say(run: Run, *records: Record) -> None:
    """Append these records, or one that is none of the values."""
    thread = run.thread
    records = records or (record("custom"),)
    first = thread.last_seq + 1
    thread.last_seq += len(records)
    thread.save(update_fields=["last_seq"])
    EventChunk.objects.create(thread=thread, run=run, first_seq=first, last_seq=thread.last_seq, payload=pack(records))


def ran(tenant: Tenant, thread: Thread, events: int = 2, **over: Any) -> Run:
    """A run that has ended."""
    run = make_run(tenant, thread, **{**DONE, **over})
    say(run, *[record("custom")] * events)
    return run


def begin(tenant: Tenant, thread: Thread, wanted: Any = VALUES, since: int | None = None) -> Start:
    start = start_of(tenant, thread.pk, [wanted], since)
    assert start and (start.created_at, start.last_seq) == (Thread.objects.get().created_at, thread.last_seq)
    return start


def test_it_does_not_begin_without_a_thread(tenant: Tenant) -> None:
    assert start_of(tenant, "unknown", [VALUES], None) is None


def test_nor_for_who_can_not_see_it(thread: Thread, bob: User, charlie: User) -> None:
    for stranger in (bob, charlie):
        assert start_of(tenant_of(stranger), thread.pk, [VALUES], None) is None
    Thread.objects.update(shared=True)
    assert start_of(tenant_of(bob), thread.pk, [VALUES], None) is not None
    assert start_of(tenant_of(charlie), thread.pk, [VALUES], None) is None


def test_a_thread_without_runs_has_nothing_to_show(tenant: Tenant, thread: Thread) -> None:
    start = begin(tenant, thread)
    assert (start.after, start.read_after, start.state, start.gap) == (0, 0, None, False)


def test_an_idle_thread_shows_its_state_and_its_last_run(tenant: Tenant, thread: Thread) -> None:
    ran(tenant, thread)
    ran(tenant, thread)
    Thread.objects.update(values={"a": 1})
    start = begin(tenant, thread)
    assert (start.after, start.read_after) == (2, 2)
    assert start.state and start.state.values == b'{"a":1}'
    assert start.state.timestamp == int(thread.state_updated_at.timestamp() * 1000)


def test_a_thread_that_waits_for_an_answer_does_too(tenant: Tenant, thread: Thread) -> None:
    ran(tenant, thread)
    ran(tenant, thread)
    Thread.objects.update(values={"a": 1}, status=ThreadStatus.INTERRUPTED)
    start = begin(tenant, thread)
    assert start.after == 2 and start.state and start.state.values == b'{"a":1}'


@pytest.mark.parametrize("wanted", [selection(["custom"]), selection(["values"], [["child"]])])
def test_the_state_is_for_those_who_want_the_values_of_the_root(tenant: Tenant, thread: Thread, wanted: object) -> None:
    Thread.objects.update(values={"a": 1})
    assert begin(tenant, thread).state
    assert begin(tenant, thread, wanted).state is None


@pytest.mark.parametrize("active", [RUNNING, {"status": RunStatus.PENDING}])
def test_an_active_run_without_values_shows_no_state(tenant: Tenant, thread: Thread, active: dict[str, Any]) -> None:
    ran(tenant, thread)
    Thread.objects.update(values={"a": 1})
    run = make_run(tenant, thread, **active)
    start = begin(tenant, thread)
    assert (start.after, start.state) == (run.after_seq, None)


@pytest.mark.parametrize("status", [RunStatus.SUCCESS, RunStatus.ERROR, RunStatus.INTERRUPTED])
def test_a_state_that_was_changed_after_the_last_run_is_shown_alone(
    tenant: Tenant, thread: Thread, status: RunStatus
) -> None:
    """The run's own values are older: a client would end with them."""
    ran(tenant, thread, status=status)
    lifecycle.reserve_position(hold_thread(tenant, thread.pk))
    Thread.objects.update(values={"a": "changed"})
    start = begin(tenant, thread)
    assert (start.after, start.read_after) == (2, 2)
    assert start.state and start.state.values == b'{"a":"changed"}'
    running = make_run(tenant, Thread.objects.get(), status=RunStatus.RUNNING)
    say(running)
    thread.last_seq = 3
    assert begin(tenant, thread).after == running.after_seq == 2


def test_several_begin_together_with_all_that_one_of_them_needs(tenant: Tenant, thread: Thread) -> None:
    run = make_run(tenant, thread, **RUNNING)
    say(run, record("values", {"a": 1}), record("custom"))
    start = start_of(tenant, thread.pk, [MESSAGES, VALUES], None)
    assert start and start.state and start.state.values == b'{"a":1}'
    again = start_of(tenant, thread.pk, [VALUES, MESSAGES], 1)
    assert again and (again.after, again.read_after) == (1, 0)


def test_an_active_run_shows_the_last_values_of_its_root(
    tenant: Tenant, thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runs.log.read.SHORT_PAGE", 2)
    Thread.objects.update(values={"a": "old"})
    run = make_run(tenant, thread, **RUNNING)
    say(run, record("values", {"a": 1}))
    moment = record("values", {"a": 2})._replace(timestamp=1234)
    say(run, moment, record("values", {"a": "child"}, ["child:1"]), record("custom", "\nvalues 1 []"))
    say(run, record("values", {"a": "child"}, ["child:1"]))
    for _ in range(4):
        say(run)
    state = begin(tenant, thread).state
    assert state and (state.values, state.timestamp) == (b'{"a":2}', 1234)


def test_it_begins_with_the_running_run_before_the_next_one(tenant: Tenant, thread: Thread) -> None:
    ran(tenant, thread)
    running = make_run(tenant, thread, **RUNNING)
    say(running)
    make_run(tenant, thread)
    assert begin(tenant, thread).after == running.after_seq == 2


def test_it_begins_with_the_oldest_of_those_that_wait(tenant: Tenant, thread: Thread) -> None:
    ran(tenant, thread)
    first = make_run(tenant, thread)
    thread.last_seq = 7
    thread.save()
    make_run(tenant, thread)
    assert begin(tenant, thread).after == first.after_seq == 2


@pytest.mark.parametrize("last", [RUNNING, DONE, {"status": RunStatus.PENDING}, {"status": RunStatus.ERROR}])
def test_it_begins_with_the_first_run_of_a_queue(tenant: Tenant, thread: Thread, last: dict[str, Any]) -> None:
    ran(tenant, thread)
    first = make_run(tenant, thread, **DONE)
    say(first)
    second = make_run(tenant, thread, **DONE)
    third = make_run(tenant, thread, **last)
    say(first)
    say(second)
    say(third)
    assert (second.after_seq, third.after_seq) == (3, 3)
    assert begin(tenant, thread).after == first.after_seq == 2


def test_a_queue_is_followed_however_long(tenant: Tenant, thread: Thread) -> None:
    ran(tenant, thread)
    first = run = make_run(tenant, thread, **DONE)
    for _ in range(2 * subscriptions._CHAIN + 3):
        say(run)
        following = make_run(tenant, thread, **DONE)
        say(run)
        run = following
    assert begin(tenant, thread).after == first.after_seq == 2


def test_a_run_that_had_ended_when_the_next_one_was_made_is_not_shown(tenant: Tenant, thread: Thread) -> None:
    ran(tenant, thread)
    ran(tenant, thread)
    running = make_run(tenant, thread, **RUNNING)
    assert begin(tenant, thread).after == running.after_seq == 4


def test_the_queries_are_few(
    tenant: Tenant, thread: Thread, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    queue = [make_run(tenant, thread, **DONE) for _ in range(5)]
    for run in queue:
        say(run, record("values", {}))
    with django_assert_max_num_queries(5):
        start_of(tenant, thread.pk, [VALUES], None)
    with django_assert_max_num_queries(3):
        start_of(tenant, thread.pk, [MESSAGES], 3)


# After an event.


def test_a_reader_goes_on_where_it_was(tenant: Tenant, thread: Thread) -> None:
    ran(tenant, thread)
    Thread.objects.update(values={"a": 1})
    for since in (0, 1, 2):
        start = begin(tenant, thread, since=since)
        assert (start.after, start.read_after, start.state, start.gap) == (since, since, None, False)


def test_a_cursor_beyond_the_log_is_that_of_another_thread(tenant: Tenant, thread: Thread) -> None:
    ran(tenant, thread)
    ran(tenant, thread)
    Thread.objects.update(values={"a": 1})
    assert begin(tenant, thread, since=5) == begin(tenant, thread)
    assert begin(tenant, thread, since=4) != begin(tenant, thread)


def by_protocol(thread: Thread) -> dict[str, Any]:
    return {"kwargs": run_kwargs(thread.pk, new_id(), event_streaming=True)}


@pytest.mark.parametrize("ended", [True, False])
def test_a_classic_run_is_read_from_its_first_event(tenant: Tenant, thread: Thread, ended: bool) -> None:
    ran(tenant, thread)
    run = make_run(tenant, thread, **(DONE if ended else RUNNING))
    for _ in range(3):
        say(run)
    for since in (3, 4, 5):
        whole = since < 5 or not ended
        assert begin(tenant, thread, MESSAGES, since).read_after == (2 if whole else since)
        assert begin(tenant, thread, VALUES, since).read_after == since


def test_a_run_of_the_protocol_is_not_read_again(tenant: Tenant, thread: Thread) -> None:
    run = make_run(tenant, thread, **RUNNING, **by_protocol(thread))
    for _ in range(3):
        say(run)
    assert begin(tenant, thread, MESSAGES, 2).read_after == 2
    assert start_of_runs_at(thread.pk, 2) == 0


@pytest.mark.parametrize("since", [2, 3, 4, 5])
def test_the_run_that_goes_on_counts_whatever_came_between(tenant: Tenant, thread: Thread, since: int) -> None:
    """One that waited behind it has been cancelled meanwhile."""
    run = make_run(tenant, thread, **RUNNING)
    say(run)
    say(run)
    waited = make_run(tenant, thread, status=RunStatus.INTERRUPTED)
    say(waited, record("cancel"), record("end"))
    say(run)
    assert begin(tenant, thread, MESSAGES, since).read_after == 0


def test_one_that_waits_does_not_have_others_read_again(tenant: Tenant, thread: Thread) -> None:
    run = make_run(tenant, thread, **RUNNING, **by_protocol(thread))
    say(run)
    make_run(tenant, thread)
    for _ in range(4):
        say(run)
    assert begin(tenant, thread, MESSAGES, 4).read_after == 4


# Events that are not kept any more.


def test_a_cursor_before_what_is_kept_is_a_gap(tenant: Tenant, thread: Thread) -> None:
    pruned = ran(tenant, thread, events=3)
    ran(tenant, thread)
    Thread.objects.update(values={"a": 1})
    EventChunk.objects.filter(run=pruned).delete()
    for since in (0, 2):
        start = begin(tenant, thread, since=since)
        assert (start.gap, start.oldest, start.after, start.read_after) == (True, 4, 3, 3)
        assert start.state and start.state.values == b'{"a":1}'
    for since in (3, 4, 5):
        assert not begin(tenant, thread, since=since).gap


def test_when_nothing_is_kept_there_is_the_state(tenant: Tenant, thread: Thread) -> None:
    ran(tenant, thread, events=3)
    Thread.objects.update(values={"a": 1})
    EventChunk.objects.all().delete()
    start = begin(tenant, thread, since=1)
    assert (start.gap, start.oldest, start.after) == (True, None, 3)
    assert start.state and start.state.values == b'{"a":1}'
    assert not begin(tenant, thread, since=3).gap
    assert not begin(tenant, thread).gap and begin(tenant, thread).state


@pytest.mark.parametrize("left", [0, 1])
def test_a_run_that_was_deleted_is_no_gap(tenant: Tenant, thread: Thread, left: int) -> None:
    deleted = ran(tenant, thread, events=3)
    for _ in range(left):
        ran(tenant, thread)
    make_run(tenant, thread)
    deleted.delete()
    start = begin(tenant, thread, since=1)
    assert (start.after, start.gap, start.state) == (1, False, None)
