"""Each check sees its violation on forged evidence, and nothing in evidence that is in order."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.faults.check_service import recoveries
from tests.faults.checks import CHECKS, check
from tests.faults.evidence import CheckpointRow, ChunkRow, DeliveryRow, Evidence, MessageRow, StateRow, ThreadRow
from tests.faults.forging import (
    EVENTS,
    FIRST,
    SECOND,
    THIRD,
    THREAD,
    VALUES,
    add_line,
    add_news,
    add_op,
    add_run,
    add_two_late_lines,
    add_two_stale_lines,
    answer_in_vain,
    change_places,
    frames_of,
    let_second_end_first,
    make_second_a_question,
    make_second_an_answer,
    message_frames,
    roll_all_back,
    set_batch,
    set_event,
    set_events,
    set_pending,
    set_run,
    set_values,
    story,
)
from tests.faults.frames import FrameReader
from tests.faults.history import Fault, Frame, Sample

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
    ("accepted_cancels_count", "ended otherwise", lambda e: set_run(e, THIRD, cancel_action="")),
    (
        "threads_agree_with_their_runs",
        "busy for ever",
        lambda e: e.dump.threads.update({THREAD: ThreadRow(THREAD, "busy", 8)}),
    ),
    (
        "threads_agree_with_their_runs",
        "an error by a rollback",
        lambda e: e.dump.threads.update({THREAD: replace(e.dump.threads[THREAD], status="error")}),
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
    ("active_runs_do_not_overlap", "by the clock", lambda e: set_run(e, SECOND, started_at=14.9)),
    ("active_runs_do_not_overlap", "no end", lambda e: set_run(e, FIRST, ended_at=0.0)),
    ("graphs_take_turns", "two steps of one before", add_two_late_lines),
    ("ended_runs_begin_nothing", "two steps", add_two_late_lines),
    ("turns_follow_requests", "overtaken", lambda e: set_run(e, THIRD, position=0)),
    ("turns_follow_requests", "overtaken in a batch", lambda e: set_batch(e, THIRD, position=0)),
    ("strategies_are_kept", "not rejected", lambda e: let_second_end_first(e, "reject")),
    ("strategies_are_kept", "not interrupted", lambda e: let_second_end_first(e, "interrupt")),
    ("strategies_are_kept", "not rolled back", lambda e: let_second_end_first(e, "rollback")),
    ("cancels_were_asked_for", "by nobody", lambda e: e.ops.pop()),
    ("cancels_were_asked_for", "otherwise", lambda e: setattr(e.ops[-1], "action", "interrupt")),
    ("cancels_were_asked_for", "by an earlier run", lambda e: (e.ops.pop(), set_run(e, FIRST, strategy="rollback"))),
    ("rolled_back_runs_say_so", "another error", lambda e: set_run(e, THIRD, error={"error": "ValueError"})),
    ("rolled_back_runs_say_so", "success", lambda e: set_run(e, THIRD, status="success", error=None)),
    ("rolled_back_runs_say_so", "unasked", lambda e: set_run(e, THIRD, cancel_action="")),
    ("rolled_back_runs_say_so", "no cancel", lambda e: set_event(e, 11, method="error")),
    (
        "rolled_back_runs_leave_nothing",
        "a checkpoint",
        lambda e: e.dump.checkpoints.append(CheckpointRow(THREAD, "c9", "c8", THIRD, 1, "input")),
    ),
    ("rolled_back_runs_leave_nothing", "a message", lambda e: e.dump.messages.append(MessageRow(THIRD, THREAD, "m2"))),
    (
        "checkpoints_build_on_others",
        "on what was taken back",
        lambda e: e.dump.checkpoints.append(CheckpointRow(THREAD, "c10", "c9", SECOND, 1, "loop")),
    ),
    ("threads_are_as_their_runs_left_them", "the row", lambda e: set_values(e, row={"done": [0, 1]})),
    ("threads_are_as_their_runs_left_them", "the checkpoint", lambda e: set_values(e, checkpoint={"done": []})),
    ("threads_are_as_their_runs_left_them", "messages", lambda e: set_values(e, row={"messages": []})),
    ("threads_are_as_their_runs_left_them", "no checkpoint", lambda e: e.dump.states.clear()),
    (
        "threads_are_as_their_runs_left_them",
        "a checkpoint of another",
        lambda e: e.dump.states.update({THREAD: StateRow(THREAD, THIRD, VALUES)}),
    ),
    ("threads_are_as_their_runs_left_them", "nothing was to be left", roll_all_back),
    (
        "threads_are_as_their_runs_left_them",
        "an answer beside it",
        lambda e: set_pending(e, "__interrupt__", "__resume__"),
    ),
    ("threads_are_as_their_runs_left_them", "no question", lambda e: set_pending(e)),
    ("messages_are_those_of_the_state", "one without a row", lambda e: e.dump.messages.clear()),
    (
        "messages_are_those_of_the_state",
        "one too many",
        lambda e: e.dump.messages.append(MessageRow(FIRST, THREAD, "m2")),
    ),
    ("answers_are_those_that_stayed", "one that did not", answer_in_vain),
    ("keys_make_their_runs_once", "two", lambda e: add_run(e, "run-4", position=4)),
    ("answers_to_a_key_agree", "two", lambda e: add_op(e, run_id=THIRD, key="key")),
    (
        "keys_stand_for_one_request",
        "two",
        lambda e: add_op(e, kind="create_other", key="key", run_id="", begin=13.0, end=13.1),
    ),
    ("batches_are_whole", "a part", lambda e: set_run(e, SECOND, parts=2)),
    ("ends_are_told", "nobody", lambda e: e.news.clear()),
    ("ends_are_told", "nobody who took it", lambda e: e.news.pop()),
    ("ends_are_told", "no delivery", lambda e: e.dump.deliveries.clear()),
    ("ends_are_told", "two deliveries", lambda e: e.dump.deliveries.append(DeliveryRow("msg-9", SECOND, "pending"))),
    ("news_of_a_run_are_one_message", "two ids", lambda e: add_news(e, message_id="msg-9")),
    ("news_of_a_run_are_one_message", "other bytes", lambda e: add_news(e, body=b"other")),
    ("news_of_a_run_are_one_message", "one id for two", lambda e: add_news(e, run_id=FIRST)),
    ("news_are_signed", "not", lambda e: add_news(e, signed=False)),
    ("news_are_true", "another status", lambda e: add_news(e, status="error")),
    ("news_are_true", "not an end", lambda e: add_news(e, status="running")),
    ("news_are_true", "too early", lambda e: set_run(e, SECOND, ended_at=17.2)),
    ("news_are_true", "nobody's", lambda e: add_news(e, run_id="run-9")),
    ("nobody_is_told_unasked", "no webhook", lambda e: add_news(e, run_id=FIRST)),
    ("nobody_is_told_unasked", "in the outbox", lambda e: e.dump.deliveries.append(DeliveryRow("m", FIRST, "pending"))),
    ("nobody_is_told_unasked", "still running", lambda e: set_run(e, SECOND, status="running")),
    ("event_numbers_are_dense", "a hole", lambda e: e.dump.chunks.pop(3)),
    ("event_numbers_are_dense", "the last one lost", lambda e: e.dump.chunks.pop()),
    ("event_numbers_are_dense", "a number twice", lambda e: e.dump.chunks.append(e.dump.chunks[2])),
    (
        "event_numbers_are_dense",
        "a chunk too short",
        lambda e: e.dump.chunks.append(ChunkRow(THREAD, SECOND, 13, 14, ())),
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
    ("watchers_miss_nothing", "one lost", lambda e: e.watches[0].frames.pop(0)),
    ("watchers_miss_nothing", "never came to the end", lambda e: setattr(e.watches[0], "ended", False)),
    ("watchers_miss_nothing", "not to the end", lambda e: e.watches[0].frames.pop()),
    ("watchers_miss_nothing", "other bytes", lambda e: e.watches[0].frames.__setitem__(0, Frame(1, "1", b"other"))),
    ("watchers_miss_nothing", "nothing left", lambda e: e.rewatched.update({THREAD: []})),
    ("messages_end", "torn", lambda e: e.rewatched.update({"other": message_frames("message-start")})),
    ("messages_end", "of none", lambda e: e.rewatched.update({"other": message_frames("content-block-delta")})),
    ("breaks_look_like_breaks", "a clean end for a watcher", lambda e: setattr(e.watches[0], "false_ends", 1)),
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


def test_one_step_of_a_run_that_was_ended_may_slip_through() -> None:
    evidence = story()
    add_line(evidence, FIRST, 2, 2, 16.1)
    assert not {"graphs_take_turns", "ended_runs_begin_nothing"} & seen(evidence)


def test_a_question_stays_when_its_answer_is_rolled_back() -> None:
    evidence = story()
    make_second_a_question(evidence)
    assert seen(evidence) <= {"successful_runs_did_every_step"}


def test_an_answer_goes_on_from_its_question() -> None:
    evidence = story()
    make_second_an_answer(evidence)
    set_values(evidence, row={"plan": {"steps": 3, "interrupt_at": 2}, "done": [0, 1, 2]})
    assert "threads_are_as_their_runs_left_them" in seen(evidence)
    evidence.dump.states[THREAD] = StateRow(THREAD, SECOND, evidence.dump.threads[THREAD].values)
    assert "threads_are_as_their_runs_left_them" not in seen(evidence)


@pytest.mark.parametrize("end", ["message-finish", "error"])
def test_a_message_that_was_torn_has_an_end(end: str) -> None:
    evidence = story()
    evidence.rewatched["other"] = message_frames("message-start", "content-block-delta", end)
    assert seen(evidence) == set()


def test_a_key_that_made_nothing_may_stand_for_another_request() -> None:
    evidence = story()
    add_op(evidence, kind="create_other", key="unused", run_id="", begin=13.0, end=13.1)
    assert seen(evidence) == set()


def test_what_was_asked_for_again_with_its_key_was_asked_for_at_first() -> None:
    evidence = story()
    add_op(evidence, run_id=FIRST, begin=20.0, end=20.1, key="old")
    add_op(evidence, run_id="", status=0, result="info", begin=8.0, end=8.1, key="old")
    assert seen(evidence) == set()


def test_news_of_a_deleted_thread_need_no_run() -> None:
    evidence = story()
    add_news(evidence, run_id="run-9", thread_id="other", message_id="msg-9")
    assert seen(evidence) == {"news_are_true"}
    evidence.deleted = {"other"}
    assert seen(evidence) == set()


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
