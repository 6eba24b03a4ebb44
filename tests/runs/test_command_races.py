"""Commands that several send at once: an interrupt is answered once, and what is said is taken once."""

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections

from accounts.tenancy import Tenant
from runs import lifecycle
from runs.exceptions import Conflict
from runs.identifiers import new_id
from runs.models import Run, Thread
from runs.protocol.commands import Command, CommandFailed, Done
from runs.services import command_runs
from runs.services.commands import perform
from runs.states import RunStatus, ThreadStatus
from tests.api.engine import STATE, FakeEngine, installed
from tests.factories import make_run, make_thread
from tests.runs.racing import at_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("graphs")]

ASK = "a" * 32


@pytest.fixture
def waiting(tenant: Tenant) -> Thread:
    return stopped(tenant, RunStatus.SUCCESS)


def stopped(tenant: Tenant, status: RunStatus) -> Thread:
    """A thread whose row has an interrupt, and whose last run ended so."""
    thread = make_thread(tenant, interrupts={"task": [{"id": ASK, "value": 1}]})
    make_run(tenant, thread, status=status)
    thread.status = thread.settled_status = ThreadStatus.INTERRUPTED
    thread.save()
    return thread


def send(tenant: Tenant, thread_id: str, method: str, **params: Any) -> Done:
    return perform(tenant, thread_id, Command(id=1, method=method, params=params))


def respond(tenant: Tenant, thread: Thread, response: Any = 1) -> Done:
    return send(tenant, thread.pk, "input.respond", interrupt_id=ASK, response=response)


def start(tenant: Tenant, thread_id: str, given: Any) -> Done:
    return send(tenant, thread_id, "run.start", assistant_id="echo", input=given)


def resumes() -> list[Any]:
    """What the threads' new runs resume with, in order."""
    commands = [run.kwargs["command"] for run in Run.objects.order_by("position")]
    return [command["resume"] for command in commands if command]


def test_of_fifty_answers_to_one_interrupt_one_is_taken(tenant: Tenant, waiting: Thread) -> None:
    answers = at_once(*[lambda number=number: respond(tenant, waiting, number) for number in range(50)])  # type: ignore[misc]
    assert [answer.code for answer in answers if isinstance(answer, CommandFailed)] == ["no_such_interrupt"] * 49
    [done] = [answer for answer in answers if isinstance(answer, Done)]
    assert resumes() == [{ASK: answers.index(done)}]
    assert Run.objects.count() == 2


def test_of_inputs_that_come_at_once_one_is_the_answer_and_all_are_taken(tenant: Tenant, waiting: Thread) -> None:
    answers = at_once(*[lambda number=number: start(tenant, waiting.pk, number) for number in range(8)])  # type: ignore[misc]
    assert all(isinstance(answer, Done) for answer in answers)
    [resumed] = resumes()
    inputs = [run.kwargs["input"] for run in Run.objects.order_by("position")[1:]]
    assert inputs[0] is None
    assert sorted([resumed[ASK], *inputs[1:]]) == list(range(8))


@pytest.mark.parametrize("_", range(5))
def test_of_an_answer_and_an_input_one_resumes(tenant: Tenant, waiting: Thread, _: int) -> None:
    answered, started = at_once(lambda: respond(tenant, waiting, 1), lambda: start(tenant, waiting.pk, 2))
    assert isinstance(started, Done)
    assert resumes() == ([{ASK: 1}] if isinstance(answered, Done) else [{ASK: 2}])


def test_runs_that_start_at_once_on_a_new_thread_share_it(tenant: Tenant) -> None:
    thread_id = str(new_id())
    answers = at_once(*[lambda: start(tenant, thread_id, {})] * 8)
    assert all(isinstance(answer, Done) for answer in answers)
    assert (Thread.objects.count(), Run.objects.filter(thread_id=thread_id).count()) == (1, 8)
    assert [answer.meta for answer in answers].count({"applied_through_seq": 0}) == 1


class MovingEngine(FakeEngine):
    """Says that the interrupt waits; meanwhile `move` happens to the thread."""

    def __init__(self, move: Callable[[], Any]) -> None:
        super().__init__()
        self._move = move
        self.answers["state"] = STATE | {"tasks": [{"id": "task", "interrupts": [{"id": ASK}]}]}

    async def answer(self, method: str, params: dict[str, Any]) -> bytes:
        with ThreadPoolExecutor(1) as threads:
            threads.submit(self._moved).result()
        return await super().answer(method, params)

    def _moved(self) -> None:
        self._move()
        connections.close_all()


@pytest.fixture
def unsure(tenant: Tenant) -> Thread:
    """Only an engine knows whether the interrupt still waits."""
    thread = stopped(tenant, RunStatus.INTERRUPTED)
    assert thread.graph_id
    return thread


def test_what_an_engine_said_counts_while_the_thread_stands_still(tenant: Tenant, unsure: Thread) -> None:
    with installed(MovingEngine(lambda: None)) as engine:
        respond(tenant, unsure)
    assert resumes() == [{ASK: 1}] and len(engine.questions) == 1


def test_what_an_engine_said_does_not_count_once_a_run_has_come(tenant: Tenant, unsure: Thread) -> None:
    with installed(MovingEngine(lambda: make_run(tenant, unsure))), pytest.raises(CommandFailed) as failed:
        respond(tenant, unsure)
    assert failed.value.code == "no_such_interrupt" and resumes() == []


def test_what_an_engine_said_does_not_count_once_a_run_has_come_and_gone(tenant: Tenant, unsure: Thread) -> None:
    def move() -> None:
        make_run(tenant, unsure, status=RunStatus.SUCCESS)
        Thread.objects.filter(pk=unsure.pk).update(interrupts={}, settled_status=ThreadStatus.INTERRUPTED)

    with installed(MovingEngine(move)), pytest.raises(CommandFailed) as failed:
        respond(tenant, unsure)
    assert failed.value.code == "no_such_interrupt" and resumes() == []


def test_a_thread_that_never_stands_still_is_left_alone_in_the_end(tenant: Tenant, unsure: Thread) -> None:
    cancelled = lambda: make_run(tenant, unsure, status=RunStatus.INTERRUPTED)  # noqa: E731
    with installed(MovingEngine(cancelled)) as engine, pytest.raises(CommandFailed) as failed:
        start(tenant, unsure.pk, "yes")
    assert failed.value.code == "unknown_error" and resumes() == []
    assert len(engine.questions) == 5


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    with installed(FakeEngine()) as engine:
        yield engine


def inject(tenant: Tenant, thread: Thread) -> Done:
    return send(tenant, thread.pk, "input.inject", message={"role": "user", "content": "x"})


def test_a_run_may_end_before_something_is_said_to_it(
    tenant: Tenant, waiting: Thread, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_runs, "_active_assistant", lambda *_: "echo")
    assert inject(tenant, waiting) == Done({})
    assert [method for method, _ in engine.questions] == ["update"] and Run.objects.count() == 1


def test_a_run_may_start_before_something_is_written(
    tenant: Tenant, waiting: Thread, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, looked = command_runs._active_assistant, []

    def idle_at_first(*args: Any) -> str:
        looked.append(args)
        if len(looked) == 1:
            make_run(tenant, waiting)
            raise command_runs._Idle
        return look(*args)

    monkeypatch.setattr(command_runs, "_active_assistant", idle_at_first)
    assert inject(tenant, waiting) == Done({})
    assert engine.questions == [] and Run.objects.count() == 3


def test_a_message_to_a_thread_that_never_stands_still_is_not_taken(
    tenant: Tenant, waiting: Thread, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: Any) -> Any:
        raise Conflict("busy")

    monkeypatch.setattr(command_runs, "update_state", busy)
    with pytest.raises(CommandFailed) as failed:
        inject(tenant, waiting)
    assert failed.value.code == "unknown_error"


def test_an_answer_for_an_assistant_that_is_not_the_last_any_more_is_not_taken(
    tenant: Tenant, waiting: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = iter(["echo", "stress"])
    monkeypatch.setattr(command_runs, "_last_assistant", lambda *_: next(names))
    with pytest.raises(CommandFailed) as failed:
        respond(tenant, waiting)
    assert failed.value.code == "unknown_error" and Run.objects.count() == 1


def test_a_thread_that_comes_while_it_is_not_held_is_held_before_a_run_takes_its_turn(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread_id, lock, held = str(new_id()), lifecycle.lock_threads, []

    def lock_too_early(thread_ids: list[str]) -> Collection[str]:
        held.append([] if not held else lock(thread_ids))
        if len(held) == 1:
            make_thread(tenant, thread_id=thread_id)
        return held[-1]

    monkeypatch.setattr(lifecycle, "lock_threads", lock_too_early)
    assert isinstance(start(tenant, thread_id, {}), Done)
    assert held == [[], [thread_id]]
