"""The rows of messages: written with the events that tell of them, and taken back with a run that did not happen."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.db import connection

from accounts.prepared import Prepared
from runs.lifecycle.adapted import adapted_id, adapted_time
from runs.models import Message, Run
from runs.records import REMOVED, Chunk, Record
from runs.tally import COLUMNS, Tally
from runs.titles import is_hidden, text_of

# What a message says at last is what counts; its place is that of its first event.
_INSERT = """
INSERT INTO runs_message (thread_id, run_id, seq, kind, caller, message_id, content, metadata, created_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (run_id, message_id) DO UPDATE SET content = excluded.content, metadata = excluded.metadata
"""
_DELETE = "DELETE FROM runs_message WHERE run_id = %s AND message_id = %s"


def keep_messages(appended: Iterable[tuple[Chunk, Sequence[Record]]]) -> None:
    """Write the messages that these chunks' records keep, in the transaction that numbered them."""
    rows: list[tuple[Any, ...]] = []
    gone: list[tuple[Any, ...]] = []
    for chunk, records in appended:
        for seq, record in enumerate(records, start=chunk.first_seq):
            if record.kept is None:
                continue
            run_id = adapted_id(uuid.UUID(chunk.run_id))
            if record.kept.kind == REMOVED:
                gone.append((run_id, record.kept.message_id))
            else:
                rows.append((chunk.thread_id, run_id, seq, *_columns(record)))
    if gone or rows:
        with connection.cursor() as cursor:
            if gone:
                cursor.executemany(_DELETE, gone)
            if rows:
                cursor.executemany(_INSERT, rows)


def _columns(record: Record) -> tuple[Any, ...]:
    kept = record.kept
    assert kept is not None
    moment = datetime.fromtimestamp(record.timestamp / 1000, UTC)
    content, metadata = kept.content.decode(), kept.metadata.decode()
    return kept.kind, kept.caller, kept.message_id, content, metadata, adapted_time(moment)


class Known(NamedTuple):
    """A message that has a row."""

    run_id: uuid.UUID
    message_id: str
    kind: str
    created_at: datetime


_known = Prepared(
    lambda thread_id: Message.objects.filter(thread_id=thread_id).values_list(*Known._fields), thread_id="example"
)


def known_messages(thread_id: str) -> list[Known]:
    """What is kept of a thread's messages, without what they say."""
    return [Known(*row) for row in _known.rows(thread_id=thread_id)]


def recounted(run_id: uuid.UUID) -> Tally | None:
    """What a run's row and the rows of its messages say that it has said and used; None when it brought no message.

    While a run goes on, its row may be behind its messages.
    """
    said = Message.objects.filter(run_id=run_id).order_by("seq").values_list("kind", "caller", "content")
    messages = list(said)
    if not messages:
        return None
    tally = Tally(**Run.objects.values(*COLUMNS).get(run_id=run_id))
    tally = replace(tally, message_count=0, last_ai_message="")
    for kind, caller, content in messages:
        visible = not is_hidden(content.get("name"), content.get("additional_kwargs"))
        tally = tally.with_message(kind, caller=caller, text=text_of(content.get("content")), visible=visible)
    return tally


def drop_messages(run_id: uuid.UUID) -> None:
    """Delete what a run brought, in the caller's transaction, as for a rollback."""
    Message.objects.filter(run_id=run_id).delete()
