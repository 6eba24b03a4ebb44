"""The tables of states, over their whole cross product."""

from itertools import product

import pytest

from runs.states import ACTIVE, TERMINAL, TRANSITIONS, RunStatus, ThreadStatus, sources, thread_status_after

ALLOWED = {
    ("pending", "running"),
    ("pending", "interrupted"),
    ("pending", "error"),
    ("running", "pending"),
    ("running", "success"),
    ("running", "error"),
    ("running", "interrupted"),
    ("running", "timeout"),
}


@pytest.mark.parametrize(("before", "after"), [*product(RunStatus, RunStatus)])
def test_a_run_moves_only_as_the_table_says(before: RunStatus, after: RunStatus) -> None:
    allowed = (before.value, after.value) in ALLOWED
    assert (after in TRANSITIONS[before]) is allowed
    assert (before in sources(after)) is allowed


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_a_terminal_state_is_final(status: RunStatus) -> None:
    assert not TRANSITIONS[status]


def test_every_state_is_active_or_terminal() -> None:
    assert {*ACTIVE, *TERMINAL} == set(RunStatus) == set(TRANSITIONS)
    assert not TERMINAL.intersection(ACTIVE)


@pytest.mark.parametrize(
    ("status", "waits_for_input", "left"),
    [
        ("success", False, ThreadStatus.IDLE),
        ("success", True, ThreadStatus.INTERRUPTED),
        ("interrupted", False, ThreadStatus.INTERRUPTED),
        ("interrupted", True, ThreadStatus.INTERRUPTED),
        ("error", False, ThreadStatus.ERROR),
        ("error", True, ThreadStatus.ERROR),
        ("timeout", False, ThreadStatus.ERROR),
        ("timeout", True, ThreadStatus.ERROR),
    ],
)
def test_what_an_ended_run_leaves_its_thread_in(status: str, waits_for_input: bool, left: ThreadStatus) -> None:
    assert thread_status_after(RunStatus(status), waits_for_input=waits_for_input) is left
