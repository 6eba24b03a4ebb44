"""The rows of messages and the counters of runs: written once, with the events that tell of them."""

import uuid
from dataclasses import replace
from typing import Any

import orjson
import pytest
from django.db import DatabaseError

from accounts.tenancy import Tenant
from runs import lifecycle
from runs.lifecycle import Outcome, Write
from runs.models import Message, Run, Thread
from runs.protocol.classic import STREAM_MODES, ClassicStream
from runs.records import REMOVED, Kept, Record, record, unpack
from runs.states import CancelAction, RunStatus, ThreadStatus
from runs.tally import Tally, Usage
from tests.factories import chunks_of, make_run, make_thread, place_of, run_kwargs

pytestmark = pytest.mark.django_db(transaction=True)

SUCCESS = Outcome(RunStatus.SUCCESS)


def message(message_id: str, text: str = "hello", *, kind: str = "human", caller: str = "lead_agent") -> Record:
    kept = Kept(kind, caller, message_id, orjson.dumps({"content": text}))
    return Record("message", orjson.dumps({"id": message_id, "type": kind}), (), 1_700_000_000_123, kept)


def wrote(run: Run, *records: Record, outcome: Outcome | None = None, tally: Tally | None = None) -> Write:
    run.refresh_from_db(fields=["claim"])
    return Write(run.pk, run.claim or uuid.uuid4(), run.thread_id, list(records), outcome, tally)


def rows() -> list[tuple[int, str, Any]]:
    return [(row.seq, row.message_id, row.content["content"]) for row in Message.objects.order_by("seq")]


def counters(run: Run) -> tuple[int, int, str]:
    run.refresh_from_db()
    return run.message_count, run.total_tokens, run.first_human_message


def test_a_message_has_the_number_of_the_event_that_tells_of_it(run: Run) -> None:
    (chunk,) = lifecycle.write([wrote(run, record("values"), message("a"), record("values"), message("b"))])
    assert chunk
    assert [seq for seq, one in unpack(chunk) if one.method == "message"] == [seq for seq, *_ in rows()] == [2, 4]
    assert Message.objects.all()[0].created_at.timestamp() == 1_700_000_000.123


def test_no_stream_shows_it(run: Run) -> None:
    (chunk,) = lifecycle.write([wrote(run, message("a"), record("values"))])
    assert chunk
    shown = ClassicStream(STREAM_MODES - {"messages"}).render(chunk)
    assert b"event: message" not in shown and b"id: 2" in shown


def test_it_is_written_once_though_its_batch_is_handed_in_twice(run: Run) -> None:
    tally = Tally(message_count=1)
    batch = [wrote(run, message("a"), tally=tally)]
    assert lifecycle.write(batch) == lifecycle.write(batch, again=True)
    assert rows() == [(1, "a", "hello")] and counters(run)[0] == 1


def test_what_it_says_last_counts_in_its_first_place(run: Run) -> None:
    lifecycle.write([wrote(run, message("a", "one"), message("b"))])
    lifecycle.write([wrote(run, message("a", "two"), message("a", "three"))])
    assert rows() == [(1, "a", "three"), (2, "b", "hello")]


def test_another_run_may_bring_it_again(tenant: Tenant, run: Run) -> None:
    lifecycle.write([wrote(run, message("a"), outcome=SUCCESS)])
    second = make_run(tenant, Thread.objects.get(), status=RunStatus.RUNNING)
    lifecycle.write([wrote(second, message("a", "again"))])
    assert [text for *_, text in rows()] == ["hello", "again"]


def test_one_that_did_not_happen_has_no_row(tenant: Tenant, run: Run) -> None:
    other = make_run(tenant, status=RunStatus.RUNNING)
    lifecycle.write([wrote(run, message("a"), message("b")), wrote(other, message("a"))])
    lifecycle.write([wrote(run, Record("message", b"{}", (), 1, Kept(REMOVED, "", "a")), message("c"))])
    assert [(row.run_id, row.message_id) for row in Message.objects.order_by("run_id", "seq")] == sorted(
        [(run.pk, "b"), (run.pk, "c"), (other.pk, "a")]
    )


def test_a_stale_claim_writes_no_message_and_counts_nothing(run: Run) -> None:
    stale = wrote(run, message("a"), tally=Tally(message_count=1))
    Run.objects.filter(pk=run.pk).update(claim=uuid.uuid4())
    assert lifecycle.write([stale]) == [None]
    assert rows() == [] and counters(run)[0] == 0


def test_a_write_that_the_database_refuses_leaves_no_message(run: Run) -> None:
    with pytest.raises(DatabaseError):
        lifecycle.write([wrote(run, message("a"), outcome=Outcome(RunStatus.SUCCESS, values=b"no JSON"))])
    assert rows() == [] and chunks_of(run.thread_id) == []


TALLY = Tally(message_count=2, first_human_message="hello").with_call(
    Usage(total_tokens=5), caller="lead_agent", model="m"
)


@pytest.mark.parametrize("outcome", [None, SUCCESS])
def test_counters_are_written_with_events_and_with_the_end(run: Run, outcome: Outcome | None) -> None:
    lifecycle.write([wrote(run, message("a"), outcome=outcome, tally=TALLY)])
    assert counters(run) == (2, 5, "hello")
    assert run.tokens_by_model == TALLY.tokens_by_model and run.model_name == "m"


def test_counters_of_a_run_without_events_are_written_too(run: Run) -> None:
    (chunk,) = lifecycle.write([wrote(run, tally=TALLY)])
    assert chunk is not None and counters(run) == (2, 5, "hello")


@pytest.mark.parametrize("cancelled", [False, True])
def test_an_end_that_is_not_the_graphs_own_leaves_the_counters(run: Run, cancelled: bool) -> None:
    lifecycle.write([wrote(run, tally=TALLY)])
    if cancelled:
        lifecycle.request_cancel(run.pk, run.thread_id, CancelAction.INTERRUPT)
    lifecycle.write([wrote(run, outcome=SUCCESS)])
    assert counters(run) == (2, 5, "hello")


def test_a_later_attempt_is_handed_the_counters(run: Run) -> None:
    lifecycle.write([wrote(run, message("a"), tally=TALLY)])
    assert lifecycle.release([(run.pk, run.claim)], crashed=True) == 1
    (attempt,) = lifecycle.claim("host", 1)
    assert (attempt.attempt, attempt.tally) == (2, replace(TALLY, message_count=1))
    assert [(one.run_id, one.message_id) for one in lifecycle.known_messages(run.thread_id)] == [(run.pk, "a")]


def test_a_first_attempt_is_handed_none(tenant: Tenant) -> None:
    make_run(tenant)
    (attempt,) = lifecycle.claim("host", 1)
    assert attempt.tally is None


# What threads are called.


def titled(run: Run) -> str:
    return Thread.objects.get(pk=run.thread_id).title


def test_a_thread_is_called_what_its_graph_calls_it(run: Run) -> None:
    lifecycle.write([wrote(run, outcome=Outcome(RunStatus.SUCCESS, title="The graph's"), tally=TALLY)])
    assert titled(run) == "The graph's"


def test_a_thread_is_called_what_its_first_message_says(tenant: Tenant, run: Run) -> None:
    lifecycle.write([wrote(run, outcome=SUCCESS, tally=TALLY)])
    second = make_run(tenant, Thread.objects.get(), status=RunStatus.RUNNING)
    lifecycle.write([wrote(second, outcome=SUCCESS, tally=Tally(first_human_message="later"))])
    assert titled(run) == "hello"


def test_a_run_that_was_asked_nothing_names_nothing(run: Run) -> None:
    lifecycle.write([wrote(run, outcome=SUCCESS, tally=Tally())])
    assert titled(run) == ""


def test_a_first_turn_that_is_cancelled_before_it_starts_names_its_thread(tenant: Tenant) -> None:
    run = make_run(tenant)
    lifecycle.request_cancel(run.pk, run.thread_id, CancelAction.INTERRUPT)
    assert titled(run) == "hello"


def test_a_first_turn_whose_process_is_lost_names_its_thread(tenant: Tenant) -> None:
    kwargs = run_kwargs("t", uuid.uuid4(), input=None)
    run = make_run(tenant, status=RunStatus.RUNNING, crashes=2, kwargs=kwargs, first_human_message="quoted")
    assert lifecycle.release([(run.pk, run.claim)], crashed=True) == 1
    assert titled(run) == "quoted"


@pytest.mark.parametrize(
    ("values", "title"), [({"title": "new"}, "new"), ({"title": ""}, "old"), ({}, "old"), (None, "old")]
)
def test_a_change_of_state_renames(tenant: Tenant, values: Any, title: str) -> None:
    thread = make_thread(tenant, title="old")
    position = lifecycle.reserve_position(place_of(thread))
    lifecycle.state_changed(thread.pk, position, values=values, interrupts={}, waits_for_input=False)
    thread.refresh_from_db()
    assert (thread.title, thread.status) == (title, ThreadStatus.IDLE)


# What is taken back.


def test_a_run_that_did_not_happen_leaves_no_message_and_no_title(tenant: Tenant, run: Run) -> None:
    lifecycle.write([wrote(run, message("a"), outcome=SUCCESS, tally=TALLY)])
    second = make_run(tenant, Thread.objects.get(), status=RunStatus.RUNNING, cancel_action=CancelAction.ROLLBACK)
    lifecycle.write([wrote(second, message("b"))])
    undone = replace(lifecycle.ROLLED_BACK, title="another")
    lifecycle.write([wrote(second, message("c"), outcome=undone, tally=Tally(first_human_message="another"))])
    assert [name for _, name, _ in rows()] == ["a"]
    assert titled(run) == "hello"


@pytest.mark.parametrize(
    "delete",
    [
        lambda run: lifecycle.delete_run(run.pk, run.thread_id),
        lambda run: lifecycle.delete_thread(run.thread_id),
    ],
)
def test_messages_go_with_their_run_and_thread(run: Run, delete: Any) -> None:
    lifecycle.write([wrote(run, message("a"))])
    delete(run)
    assert rows() == []


BOTH = (message("m1", "hi"), message("m2", "hello", kind="ai"))


def test_messages_that_a_row_does_not_count_yet_are_counted_at_an_end_that_is_not_the_graphs_own(run: Run) -> None:
    lifecycle.write([wrote(run, *BOTH)])
    lifecycle.write([wrote(run, outcome=Outcome(RunStatus.INTERRUPTED))])
    assert counters(run) == (2, 0, "hi") and run.last_ai_message == "hello"


def test_a_later_attempt_counts_on_from_messages_that_a_row_does_not_count_yet(run: Run) -> None:
    lifecycle.write([wrote(run, *BOTH)])
    lifecycle.release([(run.pk, run.claim)], crashed=True)
    [attempt] = lifecycle.claim("host", 1)
    assert attempt.tally and (attempt.tally.message_count, attempt.tally.last_ai_message) == (2, "hello")
