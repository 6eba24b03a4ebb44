"""Each check sees its violation on forged evidence, and nothing in evidence that is in order."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.faults.check_service import recoveries
from tests.faults.checks import CHECKS, check
from tests.faults.evidence import CheckpointRow, ChunkRow, Dump, Event, Evidence, RunRow, ThreadRow
from tests.faults.frames import FrameReader
from tests.faults.history import Fault, Frame, Op, Reading, Sample

#: A thread with two runs. The first lost its process in its second step and went on; the second came in between.
FIRST, SECOND, THREAD = "run-1", "run-2", "thread"
EVENTS = [
    (FIRST, "metadata", {"attempt": 1}),
    (FIRST, "updates", None),
    (FIRST, "metadata", {"attempt": 2}),
    (FIRST, "updates", None),
    (FIRST, "end", {"status": "success"}),
    (SECOND, "metadata", {"attempt": 1}),
    (SECOND, "updates", None),
    (SECOND, "end", {"status": "success"}),
]
LEDGER = [(FIRST, 1, 0, 10.0, 100), (FIRST, 1, 1, 11.0, 100), (FIRST, 2, 1, 14.0, 200), (SECOND, 1, 0, 16.0, 200)]
CHECKPOINTS = [
    ("c0", None, FIRST, 1, "input"),
    ("c1", "c0", FIRST, 1, "loop"),
    ("c2", "c1", FIRST, 1, "loop"),
    ("c3", "c2", FIRST, 1, "loop"),
    ("c4", "c3", FIRST, 2, "loop"),
    ("c5", "c4", SECOND, 1, "input"),
    ("c6", "c5", SECOND, 1, "loop"),
    ("c7", "c6", SECOND, 1, "loop"),
    ("c8", "c7", SECOND, 1, "loop"),
]


def story() -> Evidence:
    return Evidence(
        ops=[
            Op(1, "client", "create", 9.0, 9.1, "ok", 200, THREAD, FIRST),
            Op(2, "client", "create", 9.5, 9.6, "ok", 200, THREAD, SECOND),
            Op(3, "client", "thread", 12.0, 12.1, "info", 503, THREAD, retry_after=True),
        ],
        readings=[
            Reading("whole", THREAD, FIRST, None, frames_of(FIRST), 2, ended=True),
            Reading("late", THREAD, FIRST, 3, frames_of(FIRST)[3:], 1, ended=True),
            Reading("torn", THREAD, SECOND, None, frames_of(SECOND)[:1], 1),
            Reading("beyond", THREAD, FIRST, 99, [Frame(None, "end", b"event: end\r\ndata: null")], 1, ended=True),
        ],
        faults=[Fault("kill worker", "100", 11.5, 12.5, [100])],
        samples=[
            Sample(11.0, THREAD, {FIRST: "running", SECOND: "pending"}),
            Sample(15.0, THREAD, {FIRST: "success", SECOND: "running"}),
        ],
        ledger=[
            {"run_id": run, "attempt": attempt, "step": step, "time": time, "pid": pid}
            for run, attempt, step, time, pid in LEDGER
        ],
        dump=Dump(
            threads={THREAD: ThreadRow(THREAD, "idle", len(EVENTS))},
            runs={
                FIRST: RunRow(FIRST, THREAD, "success", 1, 2, 15.0, plan={"steps": 2}),
                SECOND: RunRow(SECOND, THREAD, "success", 2, 1, 17.0, plan={"steps": 1}),
            },
            chunks=[
                ChunkRow(THREAD, run, seq, seq, (Event(THREAD, run, seq, method, data),))
                for seq, (run, method, data) in enumerate(EVENTS, start=1)
            ],
            checkpoints=[CheckpointRow(THREAD, *row) for row in CHECKPOINTS],
        ),
        rereads={FIRST: frames_of(FIRST), SECOND: frames_of(SECOND)},
        connections=20,
        max_connections=40,
    )


def frames_of(run_id: str) -> list[Frame]:
    found = [(seq, method) for seq, (run, method, _) in enumerate(EVENTS, start=1) if run == run_id]
    return [Frame(seq, method, f"event: {method}\r\nid: {seq}".encode()) for seq, method in found]


def set_run(evidence: Evidence, run_id: str, **changes: Any) -> None:
    evidence.dump.runs[run_id] = replace(evidence.dump.runs[run_id], **changes)


def set_events(evidence: Evidence, events: list[tuple[str, str, Any]]) -> None:
    """Another log, as dense as the first."""
    evidence.dump.chunks = [
        ChunkRow(THREAD, run, seq, seq, (Event(THREAD, run, seq, method, data),))
        for seq, (run, method, data) in enumerate(events, start=1)
    ]
    evidence.dump.threads[THREAD] = replace(evidence.dump.threads[THREAD], last_seq=len(events))


def set_event(evidence: Evidence, seq: int, **changes: Any) -> None:
    chunk = evidence.dump.chunks[seq - 1]
    evidence.dump.chunks[seq - 1] = replace(chunk, events=(replace(chunk.events[0], **changes),))


def add_line(evidence: Evidence, run_id: str, attempt: int, step: int, time: float) -> None:
    evidence.ledger.append({"run_id": run_id, "attempt": attempt, "step": step, "time": time, "pid": 100})


def add_op(evidence: Evidence, **changes: Any) -> None:
    op = Op(9, "client", "create", 9.0, 9.1, "ok", 200, THREAD, FIRST)
    evidence.ops.append(replace(op, **changes))


def add_two_stale_lines(evidence: Evidence) -> None:
    add_line(evidence, FIRST, 1, 2, 15.0)
    add_line(evidence, FIRST, 1, 3, 15.1)


def make_second_an_answer(evidence: Evidence) -> None:
    set_run(evidence, FIRST, plan={"steps": 3, "interrupt_at": 2})
    set_run(evidence, SECOND, plan=None)


def change_places(evidence: Evidence) -> None:
    set_run(evidence, FIRST, position=2)
    set_run(evidence, SECOND, position=1)


Forge = Callable[[Evidence], object]
FORGERIES: list[tuple[str, str, Forge]] = [
    ("accepted_runs_exist", "gone", lambda e: add_op(e, run_id="run-9")),
    ("accepted_runs_exist", "gone though its answer was cut", lambda e: add_op(e, run_id="run-9", result="info")),
    ("runs_end", "pending for ever", lambda e: set_run(e, SECOND, status="pending")),
    ("runs_end_as_planned", "an error of the server", lambda e: set_run(e, FIRST, status="error")),
    ("runs_end_as_planned", "cancelled by nobody", lambda e: set_run(e, FIRST, status="interrupted")),
    ("terminal_status_is_final", "sampled", lambda e: e.samples.append(Sample(16.0, THREAD, {FIRST: "running"}))),
    ("terminal_status_is_final", "at the end", lambda e: set_run(e, FIRST, status="interrupted")),
    (
        "one_run_at_a_time",
        "two running",
        lambda e: e.samples.append(Sample(13.0, THREAD, {FIRST: "running", SECOND: "running"})),
    ),
    ("accepted_cancels_count", "ended well", lambda e: add_op(e, kind="cancel", status=202)),
    (
        "threads_agree_with_their_runs",
        "busy for ever",
        lambda e: e.dump.threads.update({THREAD: ThreadRow(THREAD, "busy", 8)}),
    ),
    ("threads_agree_with_their_runs", "idle with a run", lambda e: set_run(e, SECOND, status="running")),
    ("finished_steps_are_not_repeated", "first step again", lambda e: add_line(e, FIRST, 2, 0, 14.5)),
    (
        "attempts_do_not_overlap",
        "two steps of a stale attempt",
        add_two_stale_lines,
    ),
    ("successful_runs_did_every_step", "one left out", lambda e: set_run(e, SECOND, plan={"steps": 2})),
    (
        "successful_runs_did_every_step",
        "resumed in the wrong place",
        make_second_an_answer,
    ),
    (
        "checkpoints_are_one_line",
        "a fork",
        lambda e: e.dump.checkpoints.append(CheckpointRow(THREAD, "c9", "c2", FIRST, 1, "loop")),
    ),
    (
        "checkpoints_are_one_line",
        "an old attempt goes on",
        lambda e: e.dump.checkpoints.append(CheckpointRow(THREAD, "c9", "c8", SECOND, 0, "loop")),
    ),
    ("event_numbers_are_dense", "a hole", lambda e: e.dump.chunks.pop(3)),
    ("event_numbers_are_dense", "the last one lost", lambda e: e.dump.chunks.pop()),
    ("event_numbers_are_dense", "a number twice", lambda e: e.dump.chunks.append(e.dump.chunks[2])),
    (
        "event_numbers_are_dense",
        "a chunk too short",
        lambda e: e.dump.chunks.append(ChunkRow(THREAD, SECOND, 9, 10, ())),
    ),
    ("runs_have_one_end", "none", lambda e: set_events(e, EVENTS[:-1])),
    ("runs_have_one_end", "two", lambda e: set_events(e, [*EVENTS, EVENTS[-1]])),
    ("runs_have_one_end", "something after it", lambda e: set_events(e, [*EVENTS, (SECOND, "updates", None)])),
    ("runs_have_one_end", "an active run has one", lambda e: set_run(e, SECOND, status="running")),
    (
        "ends_tell_the_status",
        "another",
        lambda e: set_events(e, [*EVENTS[:-1], (SECOND, "end", {"status": "error"})]),
    ),
    ("attempts_are_told_in_order", "one untold", lambda e: set_run(e, SECOND, attempt=2)),
    ("replaced_attempts_are_silent", "a late word", lambda e: set_event(e, 4, attempt=1)),
    (
        "runs_take_turns",
        "out of turn",
        change_places,
    ),
    ("runs_take_turns", "mixed", lambda e: set_events(e, [*EVENTS[:3], EVENTS[5], *EVENTS[3:5], *EVENTS[6:]])),
    ("streams_are_read_again_the_same", "one lost", lambda e: e.readings[0].frames.pop(2)),
    ("streams_are_read_again_the_same", "one twice", lambda e: e.readings[0].frames.insert(2, frames_of(FIRST)[2])),
    ("streams_are_read_again_the_same", "not to the end", lambda e: e.readings[0].frames.pop()),
    (
        "streams_are_read_again_the_same",
        "other bytes",
        lambda e: e.readings[2].frames.__setitem__(0, replace(frames_of(SECOND)[0], data=b"other")),
    ),
    (
        "streams_are_read_again_the_same",
        "from before the cursor",
        lambda e: e.readings[1].frames.insert(0, frames_of(FIRST)[2]),
    ),
    ("streams_are_read_again_the_same", "more than there is", lambda e: e.readings[2].frames.extend(frames_of(FIRST))),
    ("streams_end_with_their_run", "no end", lambda e: e.rereads[FIRST].pop()),
    ("streams_end_with_their_run", "a gap", lambda e: e.rereads[FIRST].insert(0, Frame(0, "gap", b""))),
    ("streams_end_with_their_run", "out of order", lambda e: e.rereads[FIRST].insert(1, e.rereads[FIRST][0])),
    ("breaks_look_like_breaks", "a clean end", lambda e: setattr(e.readings[2], "false_ends", 1)),
    ("readers_do_not_fail", "gave up", lambda e: setattr(e.readings[2], "failed", "too many reconnects")),
    ("failures_are_honest", "500", lambda e: add_op(e, status=500, begin=12.0)),
    ("failures_are_honest", "503 without a time", lambda e: add_op(e, status=503, begin=12.0)),
    (
        "failures_are_honest",
        "503 in peace",
        lambda e: add_op(e, status=503, retry_after=True, begin=90.0, end=90.1),
    ),
    ("operations_end", "a stuck client", lambda e: setattr(e, "stuck_clients", 1)),
    ("operations_end", "no rest", lambda e: setattr(e, "restless", "waited in vain")),
    ("lost_runs_recover_in_time", "late", lambda e: setattr(e, "recovery_bound", 1.0)),
    ("nothing_is_left_running", "an engine", lambda e: e.leftovers.append("process 7 is left")),
    ("processes_end_as_asked", "a code", lambda e: e.bad_exits.append("`worker` ended with -6")),
    ("connections_are_bounded", "too many", lambda e: setattr(e, "connections", 41)),
]


def seen(evidence: Evidence) -> set[str]:
    return {violation.check for violation in check(evidence)}


def test_evidence_in_order_has_no_violation() -> None:
    assert check(story()) == []


@pytest.mark.parametrize(
    "name, forge", [(name, forge) for name, _, forge in FORGERIES], ids=[f"{n}: {w}" for n, w, _ in FORGERIES]
)
def test_a_violation_is_seen(name: str, forge: Forge) -> None:
    evidence = story()
    forge(evidence)
    assert name in seen(evidence)


def test_every_check_has_a_forgery() -> None:
    assert {one.__name__ for one in CHECKS} == {name for name, _, _ in FORGERIES}


def test_a_run_that_was_cancelled_or_told_to_fail_may_end_so() -> None:
    evidence = story()
    set_run(evidence, FIRST, status="interrupted", cancel_action="interrupt")
    set_run(evidence, SECOND, status="error", plan={"steps": 1, "fail_at": 0})
    assert "runs_end_as_planned" not in seen(evidence)


def test_runs_of_a_deleted_thread_need_not_be_there() -> None:
    evidence = story()
    add_op(evidence, run_id="run-9", thread_id="other")
    assert seen(evidence) == {"accepted_runs_exist"}
    evidence.deleted = {"other"}
    assert seen(evidence) == set()


def test_a_step_that_a_lost_attempt_was_torn_out_of_may_begin_again() -> None:
    # The second step of the first run: the checkpoints of the first attempt hold one.
    assert "finished_steps_are_not_repeated" not in seen(story())


def test_the_step_that_a_replaced_attempt_was_about_to_begin_may_slip_through() -> None:
    evidence = story()
    add_line(evidence, FIRST, 1, 2, 15.0)
    assert "attempts_do_not_overlap" not in seen(evidence)


def test_recovery_is_counted_from_the_kill_to_the_next_step() -> None:
    assert recoveries(story()) == [(FIRST, 2.5)]


def test_recovery_is_counted_anew_from_the_end_of_a_fault_that_comes_in_between() -> None:
    evidence = story()
    evidence.faults.append(Fault("stop redis", "", 12.6, 13.5))
    assert recoveries(evidence) == [(FIRST, 0.5)]


def test_a_stream_is_cut_into_frames_wherever_its_pieces_end() -> None:
    stream = b"event: a\r\ndata: 1\r\nid: 4\r\n\r\n: heartbeat\r\n\r\nevent: end\r\ndata: null\r\n\r\nevent: torn"
    for cut in range(len(stream)):
        reader = FrameReader()
        frames = reader.feed(stream[:cut]) + reader.feed(stream[cut:])
        assert [(frame.id, frame.name) for frame in frames] == [(4, "a"), (None, "end")]
