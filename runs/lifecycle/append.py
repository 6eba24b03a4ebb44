"""Appending to the event log, and finishing runs: one transaction for any number of them."""

import uuid
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from django.db import connection, transaction
from django.utils import timezone

from runs.lifecycle.adapted import adapted_id, adapted_time
from runs.lifecycle.deliveries import add_delivery
from runs.lifecycle.messages import drop_messages, keep_messages, recounted
from runs.lifecycle.outcome import CANCELLED, Outcome, closing_records, end_record
from runs.lifecycle.torn import torn
from runs.models import EventChunk, Run
from runs.news import tell
from runs.records import Chunk, Record, compress, decompress, pack
from runs.signals import chunks_committed, runs_pending
from runs.states import CancelAction, RunStatus, ThreadStatus, sources, thread_status_after
from runs.tally import COLUMNS, Tally
from runs.titles import first_human, made_title


@dataclass(frozen=True, slots=True)
class Write:
    """What one attempt wants written: its next records, and its outcome once it has one."""

    run_id: uuid.UUID
    claim: uuid.UUID
    thread_id: str
    records: list[Record] = field(default_factory=list)
    outcome: Outcome | None = None
    #: What was counted, when that has changed; with an outcome always, if the graph was there to be counted.
    tally: Tally | None = None


def write(batch: Sequence[Write], *, again: bool = False) -> list[Chunk | None]:
    """Append and finish in one transaction; announce it after the commit.

    `again`: the same batch was handed in before and it is not known what came of it; what was appended then is not
    appended twice.

    Answers in the order of `batch`: the chunk that was appended, or None when the claim is not the row's any more and
    nothing of that entry was written. A run whose cancellation was accepted ends `interrupted`, whatever its outcome;
    one that is to be rolled back, and was not, goes back to `pending` for an attempt that sees to that.
    """
    with transaction.atomic():
        lock_threads({item.thread_id for item in batch})
        held = _held_claims(batch)
        mine = [item for item in batch if _key(item) in held]
        there = _already_appended(mine) if again else {}
        mine = [item for item in mine if item.run_id not in there]
        early = {item.run_id for item in mine if _is_too_early(item, held[_key(item)])}
        emitted = number([(item.thread_id, item.run_id, item.records) for item in mine if item.outcome is None])
        ended = []
        # In the order in which others hold runs, so that nobody waits in a ring.
        for item in sorted(mine, key=lambda item: item.run_id):
            if item.run_id in early:
                _hand_back(item.run_id)
            elif item.outcome:
                ended.append(_end(item, item.outcome, held[_key(item)]))
            elif item.tally:
                _count(item.run_id, item.tally)
        insert_chunks([*emitted, *ended])
        keep_messages(_brought(mine, [*emitted, *ended]))
        if early:
            tell(runs_pending)
    committed = [*there.values(), *emitted, *ended]
    announce(committed)
    if any(item.outcome for item in batch):
        # Other hosts look by themselves; this one has room now.
        runs_pending.send(sender=Run)
    by_run = {chunk.run_id: chunk for chunk in committed}
    return [by_run.get(str(item.run_id)) if _key(item) in held else None for item in batch]


# What every run and every flush passes is written out by hand: composing it costs Django more than running it costs
# the database.
_HELD = "SELECT run_id, claim, cancel_action FROM runs_run WHERE status = 'running' AND run_id IN ({places})"
_FINISH = """
UPDATE runs_run SET status = %s, error = %s, claim = NULL, lease_until = NULL, ended_at = %s, updated_at = %s{counted}
WHERE run_id = %s AND status IN ({sources}) RETURNING webhook, graph_id
"""
_COUNTED = ", ".join(f"{column} = %s" for column in COLUMNS)
_COUNT = f"UPDATE runs_run SET {_COUNTED} WHERE run_id = %s"
_LOCK = "SELECT thread_id FROM runs_thread WHERE thread_id = ANY(%s) ORDER BY thread_id FOR UPDATE "
_NUMBER = """
UPDATE runs_thread SET last_seq = last_seq + new.column2 FROM (VALUES {places}) AS new
WHERE thread_id = new.column1 RETURNING thread_id, last_seq
"""
_IS_BUSY = """EXISTS (
    SELECT 1 FROM runs_run WHERE runs_run.thread_id = runs_thread.thread_id
    AND runs_run.status IN ('pending', 'running')
)"""
# The thread of an ended run takes its status from the run unless another one is active.
_SETTLE = f"""
UPDATE runs_thread SET
    last_seq = last_seq + %s,
    status = CASE WHEN {_IS_BUSY} THEN 'busy' ELSE %s END,
    settled_status = %s,
    "values" = COALESCE(%s, "values"),
    interrupts = COALESCE(%s, interrupts),
    title = COALESCE(NULLIF(%s, ''), NULLIF(title, ''), %s),
    error = %s,
    updated_at = %s,
    state_updated_at = CASE WHEN %s THEN %s ELSE state_updated_at END
WHERE thread_id = %s RETURNING last_seq, status
"""
# What a run does to its thread's row it does by ending: after a rollback all of it is as it was.
_UNSETTLE = f"""
UPDATE runs_thread SET last_seq = last_seq + %s, status = CASE WHEN {_IS_BUSY} THEN 'busy' ELSE settled_status END,
    graph_id = COALESCE((
        SELECT graph_id FROM runs_run WHERE runs_run.thread_id = runs_thread.thread_id
        AND cancel_action <> 'rollback' ORDER BY position DESC LIMIT 1
    ), graph_id)
WHERE thread_id = %s RETURNING last_seq, status
"""
_HAND_BACK = """
UPDATE runs_run SET status = 'pending', claim = NULL, lease_until = NULL, updated_at = %s WHERE run_id = %s
"""
_INSERT = """
INSERT INTO runs_eventchunk (thread_id, run_id, first_seq, last_seq, payload, created_at)
VALUES (%s, %s, %s, %s, %s, %s)
"""


def _key(item: Write) -> tuple[Any, Any]:
    """An attempt as the database tells it."""
    return adapted_id(item.run_id), adapted_id(item.claim)


def _held_claims(batch: Sequence[Write]) -> dict[tuple[Any, Any], str]:
    """The cancel action of each run among these, with the claim that holds it."""
    runs = list({adapted_id(item.run_id) for item in batch})
    with connection.cursor() as cursor:
        cursor.execute(_HELD.format(places=", ".join(["%s"] * len(runs))), runs)
        return {(run_id, claim): action for run_id, claim, action in cursor.fetchall()}


def _already_appended(items: Sequence[Write]) -> dict[uuid.UUID, Chunk]:
    """The last chunk of each run among these for which that is what is handed in.

    A run with an outcome is not among them: had it been committed, the claim would be gone.
    """
    found = {}
    for item in items:
        last = EventChunk.objects.filter(run_id=item.run_id).order_by("last_seq").last()
        if last and item.records and item.outcome is None and decompress(bytes(last.payload)) == pack(item.records):
            found[item.run_id] = _chunk(item.thread_id, item.run_id, last.last_seq, item.records)
    return found


def _is_too_early(item: Write, cancel_action: str) -> bool:
    """Whether the run would end though it is to be rolled back first."""
    return cancel_action == CancelAction.ROLLBACK and item.outcome is not None and not item.outcome.rolled_back


def _hand_back(run_id: uuid.UUID) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_HAND_BACK, [adapted_time(timezone.now()), adapted_id(run_id)])


def _brought(items: Sequence[Write], chunks: Sequence[Chunk]) -> list[tuple[Chunk, Sequence[Record]]]:
    """What each chunk was made of, but for those whose runs did not happen."""
    undone = {item.run_id for item in items if item.outcome and item.outcome.rolled_back}
    records = {str(item.run_id): item.records for item in items if item.run_id not in undone}
    return [(chunk, records[chunk.run_id]) for chunk in chunks if chunk.run_id in records]


def _end(item: Write, outcome: Outcome, cancel_action: str) -> Chunk:
    if cancel_action == CancelAction.INTERRUPT:
        outcome = replace(outcome, status=RunStatus.INTERRUPTED, error=None, waits_for_input=False)
    return finish(item.run_id, item.thread_id, outcome, item.records, item.tally)


def _count(run_id: uuid.UUID, tally: Tally) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, [*_counts(tally), adapted_id(run_id)])


def _counts(tally: Tally) -> list[Any]:
    """The values of COLUMNS."""
    values = [getattr(tally, column) for column in COLUMNS]
    return [orjson.dumps(value).decode() if isinstance(value, dict) else value for value in values]


def finish(
    run_id: uuid.UUID,
    thread_id: str,
    outcome: Outcome,
    records: Sequence[Record] = (),
    tally: Tally | None = None,
) -> Chunk:
    """End a run whose thread is locked and whose right to end was checked; `end` is its last event.

    Without a `tally` the run's counters are what its attempts and its messages have left.
    """
    if tally is None:
        # No engine has ended it.
        records = [*records, *_loose_ends(run_id, outcome)]
        tally = None if outcome.rolled_back else recounted(run_id)
    now = adapted_time(timezone.now())
    error = _json(orjson.dumps(outcome.error) if outcome.error else None)
    allowed = ", ".join(f"'{status}'" for status in sorted(sources(outcome.status)))
    with connection.cursor() as cursor:
        cursor.execute(
            _FINISH.format(sources=allowed, counted=f", {_COUNTED}" if tally else ""),
            [outcome.status, error, now, now, *(_counts(tally) if tally else ()), adapted_id(run_id)],
        )
        ended = cursor.fetchone()
    if ended is None:
        raise RuntimeError(f"run {run_id} can not become {outcome.status}")
    webhook, graph_id = ended
    records = [*records, *closing_records(outcome)]
    if outcome.rolled_back:
        drop_messages(run_id)
        last_seq, status = _unsettle(thread_id, len(records) + 1)
    else:
        asked = tally.first_human_message if tally else _asked(run_id)
        last_seq, status = _settle(thread_id, len(records) + 1, outcome, asked)
    end = end_record(outcome, graph_id, superseded=status == ThreadStatus.BUSY)
    chunk = _chunk(thread_id, run_id, last_seq, [*records, end])
    if webhook:
        # After the thread has its values: they are part of the news.
        add_delivery(run_id)
    return chunk


def _loose_ends(run_id: uuid.UUID, outcome: Outcome) -> list[Record]:
    """The ends of what a process has left open in the log that could not end the run itself."""
    begun = Run.objects.filter(run_id=run_id, attempt__gt=0, kwargs__event_streaming=True)
    return torn(run_id, (outcome.error or CANCELLED)["message"]) if begun.exists() else []


def _asked(run_id: uuid.UUID) -> str:
    """What a run was asked first, whether or not its graph has got to it."""
    quoted, kwargs = Run.objects.values_list("first_human_message", "kwargs").get(run_id=run_id)
    return quoted or first_human(kwargs.get("input"))


def lock_threads(thread_ids: Collection[str], *, skip_locked: bool = False) -> Collection[str]:
    """Hold these threads until the transaction ends, in one order for everybody so that nobody waits in a ring.

    Answers the ids that are held; with `skip_locked`, those that somebody else holds are left out.
    """
    if not connection.features.has_select_for_update:
        return thread_ids
    with connection.cursor() as cursor:
        cursor.execute(_LOCK + ("SKIP LOCKED" if skip_locked else ""), [list(thread_ids)])
        return [thread_id for (thread_id,) in cursor.fetchall()]


def number(items: Sequence[tuple[str, uuid.UUID, Sequence[Record]]]) -> list[Chunk]:
    """Take the next numbers for records of runs, each `(thread, run, records)` of another thread."""
    if not items:
        return []
    counts: list[str | int] = []
    for thread_id, _, records in items:
        counts += (thread_id, len(records))
    places = ", ".join(["(%s, %s)"] * len(items))
    with connection.cursor() as cursor:
        cursor.execute(_NUMBER.format(places=places), counts)
        last_seqs = dict(cursor.fetchall())
    return [_chunk(thread_id, run_id, last_seqs[thread_id], records) for thread_id, run_id, records in items]


def _chunk(thread_id: str, run_id: uuid.UUID, last_seq: int, records: Sequence[Record]) -> Chunk:
    return Chunk(thread_id, str(run_id), last_seq - len(records) + 1, last_seq, pack(records))


def _settle(thread_id: str, count: int, outcome: Outcome, asked: str) -> tuple[int, str]:
    """Take numbers for the last events of a run and give its thread what it left: the last number, and its status."""
    status = thread_status_after(outcome.status, waits_for_input=outcome.waits_for_input)
    now = adapted_time(timezone.now())
    with connection.cursor() as cursor:
        cursor.execute(
            _SETTLE,
            [
                count,
                status,
                status,
                _json(outcome.values),
                _json(outcome.interrupts),
                outcome.title,
                made_title(asked),
                _json(orjson.dumps(outcome.error) if outcome.error else None),
                now,
                outcome.values is not None,
                now,
                thread_id,
            ],
        )
        last_seq, left = cursor.fetchone()
    return last_seq, left


def _unsettle(thread_id: str, count: int) -> tuple[int, str]:
    """As `_settle`, for a run that did not happen."""
    with connection.cursor() as cursor:
        cursor.execute(_UNSETTLE, [count, thread_id])
        last_seq, left = cursor.fetchone()
    return last_seq, left


def _json(data: bytes | None) -> str | None:
    return None if data is None else data.decode()


def insert_chunks(chunks: Iterable[Chunk]) -> None:
    """Store these chunks, in the transaction that numbered them."""
    now = adapted_time(timezone.now())
    rows = [
        (
            chunk.thread_id,
            adapted_id(uuid.UUID(chunk.run_id)),
            chunk.first_seq,
            chunk.last_seq,
            compress(chunk.payload),
            now,
        )
        for chunk in chunks
        if chunk.payload
    ]
    if rows:
        with connection.cursor() as cursor:
            cursor.executemany(_INSERT, rows)


def announce(chunks: Sequence[Chunk]) -> None:
    """Tell this process of committed chunks."""
    told = [chunk for chunk in chunks if chunk.payload]
    if told:
        chunks_committed.send(sender=EventChunk, chunks=told)
