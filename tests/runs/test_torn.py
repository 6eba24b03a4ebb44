"""What an attempt that lost its process has left open in the log is ended there."""

from typing import Any

import orjson
import pytest

from accounts.models import User
from accounts.tenancy import Tenant
from runs import lifecycle
from runs.lifecycle import LOST_PROCESS, Outcome, Write, torn
from runs.models import Run
from runs.records import Record, record, unpack
from runs.states import CancelAction, RunStatus
from tests.factories import chunks_of, make_run, tenant_of

pytestmark = pytest.mark.django_db(transaction=True)

CHILD = ("child:1",)
LEAF = ("child:1", "leaf:2")


@pytest.fixture
def run(alice: User, acme: object) -> Run:
    return begun(tenant_of(alice))


def begun(tenant: Tenant, **over: Any) -> Run:
    run = make_run(tenant, status=RunStatus.RUNNING, **over)
    run.kwargs["event_streaming"] = True
    run.save()
    return run


def attempt(run: Run, number: int, *said: Record) -> None:
    """An attempt that says this; each record is a commit of its own."""
    for one in (record("metadata", {"attempt": number}), *said):
        assert run.claim
        assert lifecycle.write([Write(run.pk, run.claim, run.thread_id, [one])]) != [None]


def start(message_id: str, *namespace: str) -> Record:
    data = {"node": "speak", "event": "message-start", "role": "ai", "id": message_id}
    return record("block", data, namespace)


def delta(message_id: str, **content: Any) -> Record:
    return record("block", {"node": "speak", "event": "content-block-delta", "delta": content, "id": message_id})


def finish(message_id: str, *namespace: str, event: str = "message-finish") -> Record:
    return record("block", {"node": "speak", "event": event, "id": message_id}, namespace)


def life(event: str, *namespace: str) -> Record:
    return record("lifecycle", {"event": event, "namespace": namespace}, namespace)


def told(records: list[Record]) -> list[tuple[str, tuple[str, ...], Any]]:
    return [(one.method, one.namespace, orjson.loads(one.data)) for one in records]


def error_of(message_id: str, error: str = LOST_PROCESS) -> dict[str, str]:
    return {"node": "speak", "event": "error", "message": error, "id": message_id}


def failed(*namespace: str, error: str = LOST_PROCESS) -> dict[str, Any]:
    return {"event": "failed", "namespace": [*namespace], "error": error}


def test_messages_and_subgraphs_without_an_end_get_one_the_inmost_first(run: Run) -> None:
    said = [life("started", *CHILD), start("m1", *CHILD), life("started", *LEAF), start("m2", *LEAF), start("m3")]
    attempt(run, 1, *said)
    assert told(torn(run.pk)) == [
        ("block", (), error_of("m3")),
        ("block", LEAF, error_of("m2")),
        ("block", CHILD, error_of("m1")),
        ("lifecycle", LEAF, failed(*LEAF)),
        ("lifecycle", CHILD, failed(*CHILD)),
    ]


@pytest.mark.parametrize("event", ["message-finish", "error"])
def test_what_has_ended_is_left_alone(run: Run, event: str) -> None:
    over = [life(kind, *CHILD) for kind in ("started", "completed", "started", "failed", "started", "interrupted")]
    attempt(run, 1, *over, start("m1"), start("m2"), finish("m1", event=event))
    assert told(torn(run.pk)) == [("block", (), error_of("m2"))]


def test_an_id_is_one_of_its_place(run: Run) -> None:
    attempt(run, 1, start("m1"), finish("m1"), start("m1"), start("m1", *CHILD), finish("m1", *CHILD))
    assert told(torn(run.pk)) == [("block", (), error_of("m1"))]


def test_what_is_said_in_a_message_ends_nothing(run: Run) -> None:
    attempt(run, 1, start("m1"), delta("m1", value={"event": "message-finish"}), delta("m1", text='"event":"error"'))
    assert told(torn(run.pk)) == [("block", (), error_of("m1"))]


def test_only_the_last_attempt_that_said_something_is_looked_at(run: Run) -> None:
    attempt(run, 1, start("m1"))
    attempt(run, 2, finish("m1", event="error"), start("m2"))
    attempt(run, 3)
    attempt(run, 4)
    assert told(torn(run.pk)) == [("block", (), error_of("m2"))]


def test_an_attempt_is_looked_through_however_long_it_was(run: Run) -> None:
    attempt(run, 1, start("m1"), *(delta("m1", text="word") for _ in range(20)))
    assert told(torn(run.pk)) == [("block", (), error_of("m1"))]


def last_records(run: Run, count: int) -> list[Record]:
    return [one for _, one in unpack(chunks_of(run.thread_id)[-1])][-count:]


def test_a_run_that_is_given_up_ends_what_was_open(alice: User, acme: object) -> None:
    run = begun(tenant_of(alice), crashes=2)
    attempt(run, 1, life("started", *CHILD), start("m1", *CHILD))
    lifecycle.release([(run.pk, run.claim)], crashed=True)
    error = "The process that ran this run was lost repeatedly."
    block, child, *rest = told(last_records(run, 4))
    assert (block, child) == (
        ("block", CHILD, error_of("m1", error)),
        ("lifecycle", CHILD, failed(*CHILD, error=error)),
    )
    assert [method for method, _, _ in rest] == ["error", "end"]


def test_a_run_that_waits_for_its_next_attempt_ends_what_was_open_when_it_is_cancelled(run: Run) -> None:
    attempt(run, 1, start("m1"))
    lifecycle.release([(run.pk, run.claim)], crashed=True)
    lifecycle.request_cancel(run.pk, run.thread_id, CancelAction.INTERRUPT)
    assert told(last_records(run, 3))[0] == ("block", (), error_of("m1", "The run was cancelled."))


def test_a_run_that_its_engine_does_not_end_ends_what_was_open(run: Run) -> None:
    attempt(run, 1, start("m1"))
    assert run.claim
    late = Outcome(RunStatus.TIMEOUT, error={"error": "timeout", "message": "too long"})
    assert lifecycle.write([Write(run.pk, run.claim, run.thread_id, outcome=late)]) != [None]
    assert told(last_records(run, 3))[0] == ("block", (), error_of("m1", "too long"))
