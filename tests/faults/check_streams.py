"""Invariants of the event log and of what clients read of it: each yields what violates it."""

from itertools import pairwise
from typing import Any

import orjson

from tests.faults.evidence import TERMINAL, Evidence, Found
from tests.faults.history import Frame

#: What a reader gets whose cursor is beyond the end of the run.
_LATE_END = Frame(None, "end", b"event: end\r\ndata: null")
_MESSAGE = b'"method":"messages"'


def event_numbers_are_dense(evidence: Evidence) -> Found:
    chunks: dict[str, list[Any]] = {}
    for chunk in sorted(evidence.dump.chunks, key=lambda chunk: chunk.first_seq):
        chunks.setdefault(chunk.thread_id, []).append(chunk)
        if [event.seq for event in chunk.events] != list(range(chunk.first_seq, chunk.last_seq + 1)):
            yield f"thread {chunk.thread_id}: chunk {chunk.first_seq}..{chunk.last_seq} has {len(chunk.events)} events"
    for thread in evidence.dump.threads.values():
        reached = 0
        for chunk in chunks.get(thread.thread_id, []):
            if chunk.first_seq != reached + 1:
                yield f"thread {thread.thread_id}: event {chunk.first_seq} comes after {reached}"
            reached = chunk.last_seq
        if reached != thread.last_seq:
            yield f"thread {thread.thread_id}: its last event is {reached}, its row says {thread.last_seq}"


def runs_have_one_end(evidence: Evidence) -> Found:
    by_run = evidence.events_by_run()
    for run in evidence.dump.runs.values():
        methods = [event.method for event in by_run.get(run.run_id, [])]
        if run.status in TERMINAL and (methods.count("end") != 1 or methods[-1] != "end"):
            yield f"run {run.run_id} ({run.status}) has {methods.count('end')} ends; its last events: {methods[-4:]}"
        if run.status not in TERMINAL and "end" in methods:
            yield f"run {run.run_id} has an end and is {run.status}"


def ends_tell_the_status(evidence: Evidence) -> Found:
    for run_id, events in evidence.events_by_run().items():
        run = evidence.dump.runs.get(run_id)
        for event in events:
            if run and event.method == "end" and event.data.get("status") != run.status:
                yield f"run {run_id} is {run.status} and its end says {event.data}"


def attempts_are_told_in_order(evidence: Evidence) -> Found:
    by_run = evidence.events_by_run()
    for run in evidence.dump.runs.values():
        told = [event.data["attempt"] for event in by_run.get(run.run_id, []) if event.method == "metadata"]
        if told != list(range(1, run.attempt + 1)):
            yield f"run {run.run_id} had {run.attempt} attempts and told of {told}"


def replaced_attempts_are_silent(evidence: Evidence) -> Found:
    """What a graph says stands in the log behind the `metadata` of the attempt that said it, and of no later one."""
    for run_id, events in evidence.events_by_run().items():
        current = 0
        for event in events:
            if event.method == "metadata":
                current = event.data["attempt"]
            elif event.attempt and event.attempt != current:
                yield f"run {run_id}: event {event.seq} is of attempt {event.attempt}, and attempt {current} had begun"


def runs_take_turns(evidence: Evidence) -> Found:
    """Runs of a thread that started did so in their order, each after the end of the one before."""
    by_run = evidence.events_by_run()
    for runs in evidence.runs_by_thread().values():
        spans = []
        for run in runs:
            events = by_run.get(run.run_id, [])
            begun = [event.seq for event in events if event.method == "metadata"]
            if begun:
                spans.append((run.run_id, begun[0], events[-1].seq))
        for (one, _, last), (other, first, _) in pairwise(spans):
            if first < last:
                yield f"run {other} began with event {first}, before {one} ended with event {last}"


# What clients read.


def streams_are_read_again_the_same(evidence: Evidence) -> Found:
    """What a client collected over all its connections is what the run's stream holds: nothing lost, nothing twice."""
    for reading in evidence.readings:
        whole = evidence.rereads.get(reading.run_id)
        if whole is None or not (reading.frames or reading.ended):
            continue
        expected = [frame for frame in whole if reading.after is None or (frame.id or 0) > reading.after] or [_LATE_END]
        expected = expected if reading.ended else expected[: len(reading.frames)]
        if reading.frames != expected:
            yield f"{reading.client} of run {reading.run_id} in {reading.connections} connections: " + _difference(
                reading.frames, expected
            )


def _difference(seen: list[Frame], expected: list[Frame]) -> str:
    for i, (one, other) in enumerate(zip(seen, expected, strict=False)):
        if one != other:
            return f"frame {i} is {_short(one)}, not {_short(other)}"
    return f"{len(seen)} frames, not {len(expected)}; ids {[frame.id for frame in seen][-3:]}"


def _short(frame: Frame) -> str:
    return f"{frame.id} {frame.data[:120]!r}"


def streams_end_with_their_run(evidence: Evidence) -> Found:
    for run_id, frames in evidence.rereads.items():
        names = [frame.name for frame in frames]
        if names.count("end") != 1 or names[-1] != "end" or "gap" in names:
            yield f"the stream of run {run_id} holds {names[-4:]}"
        ids = [frame.id or 0 for frame in frames]
        if any(later <= earlier for earlier, later in pairwise(ids)):
            yield f"the stream of run {run_id} has the ids {ids}"


def watchers_miss_nothing(evidence: Evidence) -> Found:
    """What a client of the protocol collected of a thread over all its connections is what the thread tells."""
    for reading in evidence.watches:
        whole = evidence.rewatched.get(reading.thread_id)
        if whole is None:
            continue
        if not reading.ended:
            yield f"{reading.client} of thread {reading.thread_id} did not get to the end of its run"
        expected = whole if reading.ended else whole[: len(reading.frames)]
        if reading.frames != expected:
            difference = _difference(reading.frames, expected)
            yield f"{reading.client} of thread {reading.thread_id} in {reading.connections} connections: {difference}"


def messages_end(evidence: Evidence) -> Found:
    """Every message that a run begins is told to its end, whatever its processes went through, and only once."""
    for thread_id, frames in evidence.rewatched.items():
        begun: dict[tuple[str, ...], int | None] = {}
        for frame in frames:
            if _MESSAGE not in frame.data:
                continue
            params = orjson.loads(frame.data)["params"]
            event, message = params["data"]["event"], (*params["namespace"], params["data"].get("id", ""))
            if event == "message-start":
                begun[message] = frame.id
            elif message not in begun:
                yield f"thread {thread_id}: {event} {frame.id} is of no message that is open"
            elif event in ("message-finish", "error"):
                del begun[message]
        for message, seq in begun.items():
            yield f"thread {thread_id}: message {message[-1]}, which began with event {seq}, has no end"


def breaks_look_like_breaks(evidence: Evidence) -> Found:
    """A stream that is over by its own account has an `end`; clients would take it for complete."""
    for reading in [*evidence.readings, *evidence.watches]:
        if reading.false_ends:
            yield f"{reading.client} of run {reading.run_id}: {reading.false_ends} streams ended without an `end`"


def readers_do_not_fail(evidence: Evidence) -> Found:
    for reading in [*evidence.readings, *evidence.watches]:
        if reading.failed:
            yield f"{reading.client} of run {reading.run_id} gave up: {reading.failed}"
