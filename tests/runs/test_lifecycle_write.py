"""Writing: events take the thread's next numbers, an outcome comes with its `end`, and a stale claim writes nothing."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import orjson
import pytest
from django.db import DatabaseError, connection
from django.utils import timezone

from accounts.tenancy import Tenant
from runs import lifecycle
from runs.lifecycle import CancelResult, Outcome, Write
from runs.models import Run, Thread
from runs.records import Record, record, unpack
from runs.signals import chunks_committed, runs_pending
from runs.states import CancelAction, RunStatus, ThreadStatus
from tests.factories import chunks_of, make_run, make_thread
from tests.fakes import heard, numbered

pytestmark = pytest.mark.django_db(transaction=True)

ERROR = {"error": "ValueError", "message": "no"}


def written(run: Run, *methods: str, outcome: Outcome | None = None) -> Write:
    return Write(run.pk, run.claim, run.thread_id, [record(method) for method in methods], outcome)


def state(run: Run) -> tuple[object, ...]:
    """All that a write may change."""
    thread = Thread.objects.get(pk=run.thread_id)
    fields = [field.attname for field in Run._meta.concrete_fields]
    row = Run.objects.filter(pk=run.pk).values_list(*fields).get()
    return (*row, thread.status, thread.last_seq, thread.values, thread.error, *chunks_of(run.thread_id))


def test_events_take_the_next_numbers_of_their_thread(run: Run) -> None:
    with heard(chunks_committed) as commits:
        first = lifecycle.write([written(run, "values")])
        second = lifecycle.write([written(run, "updates", "custom")])
    assert numbered(chunks_of(run.thread_id)) == [(1, "values"), (2, "updates"), (3, "custom")]
    assert chunks_of(run.thread_id) == first + second
    assert [sending["chunks"] for sending in commits] == [first, second]


def test_events_of_many_runs_are_committed_together(tenant: Tenant) -> None:
    runs = [make_run(tenant, status=RunStatus.RUNNING) for _ in range(3)]
    with heard(chunks_committed) as commits:
        lifecycle.write([written(run, "values") for run in runs])
    assert len(commits) == 1
    assert [numbered(chunks_of(run.thread_id)) for run in runs] == [[(1, "values")]] * 3


def test_a_long_payload_is_read_as_it_was_written(run: Run) -> None:
    emitted = [Record("values", orjson.dumps("é" * 5000), ("child:1",), 7)]
    lifecycle.write([Write(run.pk, run.claim, run.thread_id, emitted)])
    assert [one for _, one in unpack(chunks_of(run.thread_id)[0])] == emitted


@pytest.mark.parametrize("outcome", [None, Outcome(RunStatus.SUCCESS, values=b"{}")])
@pytest.mark.parametrize(
    "change",
    [
        {"claim": uuid.uuid4()},
        {"claim": None, "status": RunStatus.PENDING},
        {"status": RunStatus.SUCCESS},
        {"status": RunStatus.INTERRUPTED, "claim": None},
    ],
)
def test_a_stale_claim_writes_nothing(run: Run, change: dict[str, object], outcome: Outcome | None) -> None:
    Run.objects.filter(pk=run.pk).update(**change)
    before = state(run)
    with heard(chunks_committed) as commits:
        assert lifecycle.write([written(run, "values", outcome=outcome)]) == [None]
    assert state(run) == before and not commits


def test_a_claim_is_good_for_its_own_run_only(tenant: Tenant, run: Run) -> None:
    other = make_run(tenant, status=RunStatus.RUNNING)
    before = state(other)
    assert lifecycle.write([Write(other.pk, run.claim, other.thread_id, [record("values")])]) == [None]
    assert state(other) == before


def test_a_deleted_run_writes_nothing(run: Run) -> None:
    lifecycle.delete_run(run.pk, run.thread_id)
    assert lifecycle.write([written(run, "values")]) == [None]
    assert chunks_of(run.thread_id) == []


def test_a_stale_claim_does_not_keep_others_from_writing(tenant: Tenant, run: Run) -> None:
    stale = make_run(tenant, status=RunStatus.RUNNING)
    Run.objects.filter(pk=stale.pk).update(claim=uuid.uuid4())
    first, second = lifecycle.write([written(stale, "values"), written(run, "values")])
    assert first is None and second == chunks_of(run.thread_id)[0]


@pytest.mark.parametrize(
    ("outcome", "events", "left"),
    [
        (Outcome(RunStatus.SUCCESS), ["end"], ThreadStatus.IDLE),
        (Outcome(RunStatus.SUCCESS, waits_for_input=True), ["end"], ThreadStatus.INTERRUPTED),
        (Outcome(RunStatus.INTERRUPTED), ["cancel", "end"], ThreadStatus.INTERRUPTED),
        (Outcome(RunStatus.ERROR, error=ERROR), ["error", "end"], ThreadStatus.ERROR),
        (Outcome(RunStatus.TIMEOUT, error=ERROR), ["error", "end"], ThreadStatus.ERROR),
    ],
)
def test_the_end_of_a_run_is_committed_with_its_events(
    run: Run, outcome: Outcome, events: list[str], left: ThreadStatus
) -> None:
    with heard(runs_pending) as pending, heard(chunks_committed) as commits:
        lifecycle.write([written(run, "values", outcome=outcome)])
    assert len(commits) == len(pending) == 1
    run.refresh_from_db()
    assert (run.status, run.error, run.claim, run.lease_until) == (outcome.status, outcome.error, None, None)
    assert run.ended_at is not None
    assert [method for _, method in numbered(chunks_of(run.thread_id))] == ["values", *events]
    (*_, (_, last)) = unpack(chunks_of(run.thread_id)[0])
    assert orjson.loads(last.data)["status"] == outcome.status
    thread = Thread.objects.get()
    assert (thread.status, thread.error, thread.last_seq) == (left, outcome.error, 1 + len(events))


def test_an_outcome_leaves_its_values_and_interrupts_on_the_thread(run: Run) -> None:
    before = run.thread.state_updated_at
    lifecycle.write([written(run, outcome=Outcome(RunStatus.SUCCESS, values=b'{"a":1}', interrupts=b'{"t":[]}'))])
    thread = Thread.objects.get()
    assert (thread.values, thread.interrupts) == ({"a": 1}, {"t": []})
    assert thread.state_updated_at > before


def test_an_outcome_without_values_leaves_those_of_the_thread(tenant: Tenant) -> None:
    then = timezone.now() - timedelta(days=1)
    thread = make_thread(tenant, values={"old": 1}, interrupts={"t": []}, error=ERROR, state_updated_at=then)
    run = make_run(tenant, thread, status=RunStatus.RUNNING)
    lifecycle.write([written(run, outcome=Outcome(RunStatus.SUCCESS))])
    after = Thread.objects.get()
    assert (after.values, after.interrupts, after.error) == ({"old": 1}, {"t": []}, None)
    assert after.state_updated_at == then < after.updated_at


def test_a_thread_stays_busy_while_another_run_waits(tenant: Tenant, run: Run) -> None:
    make_run(tenant, run.thread)
    lifecycle.write([written(run, outcome=Outcome(RunStatus.ERROR, error=ERROR))])
    assert Thread.objects.get().status == ThreadStatus.BUSY


def test_a_run_ends_once(run: Run) -> None:
    lifecycle.write([written(run, outcome=Outcome(RunStatus.SUCCESS))])
    before = state(run)
    assert lifecycle.write([written(run, outcome=Outcome(RunStatus.ERROR, error=ERROR))]) == [None]
    assert state(run) == before


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(RunStatus.SUCCESS, values=b'{"a":1}', waits_for_input=True),
        Outcome(RunStatus.ERROR, error=ERROR),
        Outcome(RunStatus.TIMEOUT, error=ERROR),
        Outcome(RunStatus.INTERRUPTED),
    ],
)
def test_an_accepted_cancellation_decides_how_the_run_ends(run: Run, outcome: Outcome) -> None:
    assert lifecycle.request_cancel(run.pk, run.thread_id, CancelAction.INTERRUPT) is CancelResult.REQUESTED
    lifecycle.write([written(run, "values", outcome=outcome)])
    run.refresh_from_db()
    assert (run.status, run.error) == (RunStatus.INTERRUPTED, None)
    assert [method for _, method in numbered(chunks_of(run.thread_id))] == ["values", "cancel", "end"]
    thread = Thread.objects.get()
    assert (thread.status, thread.values) == (ThreadStatus.INTERRUPTED, {"a": 1} if outcome.values else None)


def test_a_write_that_the_database_refuses_leaves_nothing(tenant: Tenant, run: Run) -> None:
    other = make_run(tenant, status=RunStatus.RUNNING)
    before = state(run), state(other)
    refused = written(other, "values", outcome=Outcome(RunStatus.SUCCESS, values=b"no JSON"))
    with heard(chunks_committed) as commits, pytest.raises(DatabaseError):
        lifecycle.write([written(run, "values", outcome=Outcome(RunStatus.SUCCESS)), refused])
    assert (state(run), state(other)) == before and not commits


def test_numbers_stay_dense_when_many_append_at_once(tenant: Tenant, run: Run) -> None:
    waiting = [make_run(tenant, run.thread) for _ in range(20)]

    def append(number: int) -> None:
        lifecycle.write([written(run, *["values"] * (1 + number % 3))])

    def cancel(number: int) -> None:
        lifecycle.request_cancel(waiting[number].pk, run.thread_id, CancelAction.INTERRUPT)

    def work(number: int) -> None:
        try:
            (cancel if number % 2 else append)(number // 2)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))
    chunks = chunks_of(run.thread_id)
    assert [seq for chunk in chunks for seq, _ in unpack(chunk)] == list(range(1, chunks[-1].last_seq + 1))
    assert all(len(list(unpack(chunk))) == chunk.last_seq - chunk.first_seq + 1 for chunk in chunks)
    assert len(chunks) == 40 and Thread.objects.get().last_seq == chunks[-1].last_seq


@pytest.mark.parametrize("stale_first", [True, False])
def test_of_two_attempts_of_a_run_in_one_batch_the_holder_writes(run: Run, stale_first: bool) -> None:
    stale = Write(run.pk, uuid.uuid4(), run.thread_id, [record("custom", "stale")])
    good = written(run, "values")
    batch = [stale, good] if stale_first else [good, stale]

    chunks = dict(zip(map(id, batch), lifecycle.write(batch), strict=True))

    assert chunks[id(stale)] is None and chunks[id(good)] is not None
    assert numbered(chunks_of(run.thread_id)) == [(1, "values")]


def test_what_was_committed_though_nobody_heard_of_it_is_not_appended_twice(tenant: Tenant) -> None:
    runs = [make_run(tenant, status=RunStatus.RUNNING) for _ in range(3)]
    batch = [Write(run.pk, run.claim, run.thread_id, [record("values", number)]) for number, run in enumerate(runs)]
    committed = lifecycle.write(batch[:2])
    assert lifecycle.write(batch, again=True)[:2] == committed
    for run in runs:
        assert [chunk.last_seq for chunk in chunks_of(run.thread_id)] == [1]
    more = [Write(run.pk, run.claim, run.thread_id, [record("values", "more")]) for run in runs]
    assert [chunk.last_seq for chunk in lifecycle.write(more, again=True) if chunk] == [2, 2, 2]
