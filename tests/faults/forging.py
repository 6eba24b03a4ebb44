"""Evidence in order, and ways to forge it."""

from dataclasses import replace
from typing import Any

import orjson

from tests.faults.evidence import (
    CheckpointRow,
    ChunkRow,
    DeliveryRow,
    Dump,
    Event,
    Evidence,
    MessageRow,
    RunRow,
    StateRow,
    ThreadRow,
)
from tests.faults.history import Fault, Frame, News, Op, Reading, Sample

#: A thread with three runs. The first lost its process in its second step and went on; the second came in between, was
#: asked for twice with a key, and told of twice; the third was rolled back when it had done a step.
FIRST, SECOND, THIRD, THREAD = "run-1", "run-2", "run-3", "thread"
EVENTS = [
    (FIRST, "metadata", {"attempt": 1}),
    (FIRST, "updates", None),
    (FIRST, "metadata", {"attempt": 2}),
    (FIRST, "updates", None),
    (FIRST, "end", {"status": "success"}),
    (SECOND, "metadata", {"attempt": 1}),
    (SECOND, "updates", None),
    (SECOND, "end", {"status": "success"}),
    (THIRD, "metadata", {"attempt": 1}),
    (THIRD, "updates", None),
    (THIRD, "cancel", None),
    (THIRD, "end", {"status": "error"}),
]
LEDGER = [
    (FIRST, 1, 0, 10.0, 100),
    (FIRST, 1, 1, 11.0, 100),
    (FIRST, 2, 1, 14.0, 200),
    (SECOND, 1, 0, 16.0, 200),
    (THIRD, 1, 0, 18.0, 200),
]
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
VALUES = {"plan": {"steps": 1}, "done": [0], "messages": [{"id": "m1"}]}
NEWS = News(17.1, "msg-2", True, b"{}", SECOND, THREAD, "success", "refuse")
ROLLED_BACK = {"error": "RolledBack", "message": "Rolled back by user"}


def story() -> Evidence:
    return Evidence(
        ops=[
            Op(1, "client", "create", 9.0, 9.1, "ok", 200, THREAD, FIRST),
            Op(2, "client", "create", 9.5, 9.6, "ok", 200, THREAD, SECOND, key="key"),
            Op(3, "client", "thread", 12.0, 12.1, "info", 503, THREAD, retry_after=True),
            Op(4, "client", "create", 12.5, 12.6, "ok", 200, THREAD, SECOND, key="key"),
            Op(5, "client", "create", 16.5, 16.6, "ok", 200, THREAD, THIRD),
            Op(6, "client", "cancel", 18.5, 18.6, "ok", 202, THREAD, THIRD, action="rollback"),
        ],
        readings=[
            Reading("whole", THREAD, FIRST, None, frames_of(FIRST), 2, ended=True),
            Reading("late", THREAD, FIRST, 3, frames_of(FIRST)[3:], 1, ended=True),
            Reading("torn", THREAD, SECOND, None, frames_of(SECOND)[:1], 1),
            Reading("beyond", THREAD, FIRST, 99, [Frame(None, "end", b"event: end\r\ndata: null")], 1, ended=True),
        ],
        watches=[Reading("watcher", THREAD, FIRST, None, frames_of(FIRST), 2, ended=True)],
        rewatched={THREAD: frames_of(FIRST)},
        faults=[Fault("kill worker", "100", 11.5, 12.5, [100])],
        samples=[
            Sample(11.0, THREAD, {FIRST: "running", SECOND: "pending"}),
            Sample(15.0, THREAD, {FIRST: "success", SECOND: "running"}),
        ],
        news=[NEWS, replace(NEWS, time=22.0, answer="accept")],
        ledger=[
            {"run_id": run, "attempt": attempt, "step": step, "time": time, "pid": pid}
            for run, attempt, step, time, pid in LEDGER
        ],
        dump=Dump(
            threads={THREAD: ThreadRow(THREAD, "idle", len(EVENTS), VALUES)},
            runs={
                FIRST: RunRow(FIRST, THREAD, "success", 1, 2, 15.0, plan={"steps": 2}, started_at=13.5),
                SECOND: RunRow(
                    SECOND,
                    THREAD,
                    "success",
                    2,
                    1,
                    17.0,
                    plan={"steps": 1},
                    started_at=15.5,
                    after_seq=1,
                    has_webhook=True,
                    key="key",
                ),
                THIRD: RunRow(
                    THIRD,
                    THREAD,
                    "error",
                    3,
                    1,
                    19.0,
                    cancel_action="rollback",
                    error=ROLLED_BACK,
                    plan={"steps": 9},
                    started_at=17.5,
                    after_seq=6,
                ),
            },
            chunks=[
                ChunkRow(THREAD, run, seq, seq, (Event(THREAD, run, seq, method, data),))
                for seq, (run, method, data) in enumerate(EVENTS, start=1)
            ],
            checkpoints=[CheckpointRow(THREAD, *row) for row in CHECKPOINTS],
            states={THREAD: StateRow(THREAD, SECOND, VALUES)},
            messages=[MessageRow(SECOND, THREAD, "m1")],
            deliveries=[DeliveryRow("msg-2", SECOND, "delivered")],
        ),
        rereads={FIRST: frames_of(FIRST), SECOND: frames_of(SECOND), THIRD: frames_of(THIRD)},
        connections=20,
        max_connections=40,
    )


def frames_of(run_id: str) -> list[Frame]:
    found = [(seq, method) for seq, (run, method, _) in enumerate(EVENTS, start=1) if run == run_id]
    return [Frame(seq, method, f"event: {method}\r\nid: {seq}".encode()) for seq, method in found]


def message_frames(*events: str) -> list[Frame]:
    """Events of the protocol, of one message."""
    return [
        Frame(
            seq,
            str(seq),
            orjson.dumps({"method": "messages", "params": {"namespace": [], "data": {"event": event, "id": "m"}}}),
        )
        for seq, event in enumerate(events, start=1)
    ]


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


def add_two_late_lines(evidence: Evidence) -> None:
    add_line(evidence, FIRST, 2, 2, 16.1)
    add_line(evidence, FIRST, 2, 3, 16.2)


def set_batch(evidence: Evidence, run_id: str, **changes: Any) -> None:
    """Let this run come from a request for several."""
    for op in evidence.ops:
        if op.kind == "create" and op.run_id == run_id:
            op.kind, op.run_id, op.made = "batch", "", [run_id]
    set_run(evidence, run_id, **changes)


def make_second_an_answer(evidence: Evidence) -> None:
    set_run(evidence, FIRST, plan={"steps": 3, "interrupt_at": 2})
    set_run(evidence, SECOND, plan=None, answer="yes")


def make_second_a_question(evidence: Evidence) -> None:
    """One that waits, before the thread's only other run, an answer that was rolled back."""
    plan = {"steps": 3, "interrupt_at": 1}
    set_run(evidence, SECOND, plan=plan)
    set_run(evidence, THIRD, plan=None, answer="no")
    values = {**VALUES, "plan": plan}
    evidence.dump.threads[THREAD] = ThreadRow(THREAD, "interrupted", len(EVENTS), values, {"task": []})
    evidence.dump.states[THREAD] = StateRow(THREAD, SECOND, values, frozenset({"__interrupt__"}))


def set_pending(evidence: Evidence, *channels: str) -> None:
    """A question with something else beside it."""
    make_second_a_question(evidence)
    evidence.dump.states[THREAD] = replace(evidence.dump.states[THREAD], pending=frozenset(channels))


def set_values(evidence: Evidence, *, row: dict[str, Any] = VALUES, checkpoint: dict[str, Any] = VALUES) -> None:
    evidence.dump.threads[THREAD] = replace(evidence.dump.threads[THREAD], values={**VALUES, **row})
    evidence.dump.states[THREAD] = replace(evidence.dump.states[THREAD], values={**VALUES, **checkpoint})


def add_run(evidence: Evidence, run_id: str, **changes: Any) -> None:
    """Like the second one."""
    evidence.dump.runs[run_id] = replace(evidence.dump.runs[SECOND], run_id=run_id, **changes)


def add_news(evidence: Evidence, **changes: Any) -> None:
    evidence.news.append(replace(NEWS, time=30.0, **changes))


def roll_all_back(evidence: Evidence) -> None:
    for run_id in evidence.dump.runs:
        set_run(evidence, run_id, status="error", cancel_action="rollback", error=ROLLED_BACK)


def answer_in_vain(evidence: Evidence) -> None:
    make_second_a_question(evidence)
    state = evidence.dump.states[THREAD]
    evidence.dump.states[THREAD] = replace(state, values={**state.values, "answers": ["no"]})


def let_second_end_first(evidence: Evidence, strategy: str) -> None:
    """It does not: the first one goes on, and the second takes its turn."""
    set_run(evidence, SECOND, strategy=strategy)


def change_places(evidence: Evidence) -> None:
    set_run(evidence, FIRST, position=2)
    set_run(evidence, SECOND, position=1)
