"""Invariants of runs that were rolled back, and of what threads hold: each yields what violates it."""

from typing import Any

from tests.faults.evidence import Evidence, Found, RunRow, StateRow, ThreadRow
from tests.faults.stories import asks, expected_steps, plan_of

_INTERRUPT, _RESUME = "__interrupt__", "__resume__"


def rolled_back_runs_say_so(evidence: Evidence) -> Found:
    """They, and no others, are errors called RolledBack; their streams end with `cancel` and `end`."""
    by_run = evidence.events_by_run()
    for run in evidence.dump.runs.values():
        called = run.status == "error" and (run.error or {}).get("error") == "RolledBack"
        if called != run.rolled_back:
            yield f"run {run.run_id} is {run.status}, {run.error}; its cancellation is {run.cancel_action!r}"
        last = [event.method for event in by_run.get(run.run_id, [])][-2:]
        if run.rolled_back and last != ["cancel", "end"]:
            yield f"run {run.run_id} was rolled back; its last events are {last}"


def rolled_back_runs_leave_nothing(evidence: Evidence) -> Found:
    gone = {run.run_id for run in evidence.dump.runs.values() if run.rolled_back}
    for row in evidence.dump.checkpoints:
        if row.run_id in gone:
            yield f"run {row.run_id} was rolled back and has the checkpoint {row.checkpoint_id} in {row.thread_id}"
    for message in evidence.dump.messages:
        if message.run_id in gone:
            yield f"run {message.run_id} was rolled back and has the message {message.message_id}"


def checkpoints_build_on_others(evidence: Evidence) -> Found:
    """What a checkpoint was made from is there: no run went on from what was taken back."""
    known = {(row.thread_id, row.checkpoint_id) for row in evidence.dump.checkpoints}
    for row in evidence.dump.checkpoints:
        if row.parent_id is not None and (row.thread_id, row.parent_id) not in known:
            yield f"run {row.run_id}: {row.checkpoint_id} was made from {row.parent_id}, which is not there"


def threads_are_as_their_runs_left_them(evidence: Evidence) -> Found:
    """A thread's row and its latest checkpoint hold what its last run left that did anything and was not rolled back.

    Known of those that ended well.
    """
    runs = evidence.runs_by_thread()
    for thread in evidence.dump.threads.values():
        effective = [run for run in runs.get(thread.thread_id, []) if run.attempt and not run.rolled_back]
        state = evidence.dump.states.get(thread.thread_id)
        if not effective:
            if state or thread.values or thread.interrupts:
                yield f"thread {thread.thread_id} holds something and no run left anything: {thread.values}, {state}"
        elif effective[-1].status == "success":
            yield from (f"thread {thread.thread_id}: {what}" for what in _differences(thread, state, effective))


def _differences(thread: ThreadRow, state: StateRow | None, runs: list[RunRow]) -> Found:
    last, expected = runs[-1], _expected(runs)
    if state is None or state.run_id != last.run_id:
        yield f"its latest checkpoint is of {state and state.run_id}, and its last run is {last.run_id}"
        return
    if expected is None:
        return
    for where, values in (("row", thread.values), ("checkpoint", state.values)):
        found = {name: values.get(name) for name in expected}
        if found != expected:
            yield f"its {where} has {found}, not {expected}"
    if _message_ids(thread.values) != _message_ids(state.values):
        yield "its row and its latest checkpoint have other messages"
    waits = asks(last)
    if bool(thread.interrupts) != waits or (_INTERRUPT in state.pending) != waits or _RESUME in state.pending:
        yield f"its last run {'asked' if waits else 'ended'}; {thread.interrupts}, and beside it {set(state.pending)}"


def _expected(runs: list[RunRow]) -> dict[str, Any] | None:
    """What the state tells of the steps: an answer goes on where its question stopped."""
    steps = expected_steps(runs[-1], runs[:-1])
    return None if steps is None else {"done": list(range(steps.stop)), "plan": plan_of(runs[-1], runs[:-1])}


def _message_ids(values: dict[str, Any]) -> list[str]:
    messages = values.get("messages") or []
    return [message["id"] if isinstance(message, dict) else message.id for message in messages]


def messages_are_those_of_the_state(evidence: Evidence) -> Found:
    """Each message of a thread's state has a row, and each row of a run that ended well is in the state."""
    for thread_id, state in evidence.dump.states.items():
        held = set(_message_ids(state.values))
        rows = [row for row in evidence.dump.messages if row.thread_id == thread_id]
        if lost := held - {row.message_id for row in rows}:
            yield f"thread {thread_id} has messages without a row: {sorted(lost)}"
        well = {run.run_id for run in evidence.dump.runs.values() if run.status == "success"}
        if extra := {row.message_id for row in rows if row.run_id in well} - held:
            yield f"thread {thread_id} has rows of messages that are not in its state: {sorted(extra)}"


def answers_are_those_that_stayed(evidence: Evidence) -> Found:
    """No answer of a run that was rolled back is in the state of its thread."""
    for thread_id, runs in evidence.runs_by_thread().items():
        gone = {run.answer for run in runs if run.rolled_back and run.answer}
        state = evidence.dump.states.get(thread_id)
        held = set(state.values.get("answers") or ()) if state else set()
        if gone & held:
            yield f"thread {thread_id} holds {gone & held}, of runs that were rolled back"
