"""Somebody's rows, with a word in every field that may hold one, and whether they are still the same."""

import hashlib
from typing import NamedTuple

from django.db.models import Model

from accounts.models import Membership, Organization, User
from runs.identifiers import new_id
from runs.models import Assistant, AssistantVersion, Cron, Delivery, EventChunk, Message, Run, Thread, WebhookEndpoint
from runs.records import pack, record
from runs.states import RunStatus
from tests.api.engine import STATE
from tests.factories import make_cron, make_run, make_thread, tenant_of


class Rows(NamedTuple):
    thread: Thread
    run: Run
    assistant: Assistant
    cron: Cron


def make_rows(owner: User, word: str, *, shared: bool = False) -> Rows:
    tenant = tenant_of(owner)
    words = {"word": word}
    assistant = Assistant.objects.create(
        organization_id=tenant.organization_id,
        owner_id=tenant.user_id,
        graph_id="echo",
        name=word,
        description=word,
        config={"configurable": words},
        context=words,
        metadata=words,
    )
    AssistantVersion.objects.create(
        assistant=assistant,
        version=1,
        graph_id="echo",
        name=word,
        description=word,
        config={"configurable": words},
        context=words,
        metadata=words,
    )
    thread = make_thread(
        tenant,
        shared=shared,
        metadata=words,
        config=words,
        values=words,
        interrupts={"task": [words]},
        error={"error": word, "message": word},
        last_seq=2,
    )
    run = make_run(
        tenant,
        thread,
        status=RunStatus.ERROR,
        assistant=assistant,
        metadata=words,
        kwargs={"input": words, "stream_mode": ["values"], "on_disconnect": "continue"},
        error={"error": word, "message": word},
        after_seq=0,
        first_human_message=word,
        tokens_by_model={word: {"calls": 1, "total_tokens": 1}},
    )
    Message.objects.create(
        thread=thread, run=run, seq=1, kind="human", caller="lead_agent", message_id=word, content={"content": word}
    )
    payload = pack([record("values", words), record("end", {"status": "error"})])
    EventChunk.objects.create(thread=thread, run=run, first_seq=1, last_seq=2, payload=payload)
    cron = make_cron(
        tenant, thread, assistant=assistant, payload={"input": words, "context": words}, metadata=words, error=word
    )
    return Rows(thread, run, assistant, cron)


def ids_of(rows: Rows) -> dict[str, str]:
    checkpoint_id = str(STATE["checkpoint_id"])
    return {
        "thread_id": rows.thread.pk,
        "run_id": str(rows.run.pk),
        "assistant_id": str(rows.assistant.pk),
        "cron_id": str(rows.cron.pk),
        "checkpoint_id": checkpoint_id,
        "namespace": "child",
    }


def unknown_ids() -> dict[str, str]:
    names = ("thread_id", "run_id", "assistant_id", "cron_id", "checkpoint_id")
    return {**{name: str(new_id()) for name in names}, "namespace": "child"}


def fingerprint() -> str:
    """Of all rows that hold somebody's data."""
    models: list[type[Model]] = [
        *(Thread, Run, Assistant, AssistantVersion, Cron, EventChunk, Message, Delivery, WebhookEndpoint),
        *(Organization, Membership),
    ]
    rows = [sorted(map(repr, model._default_manager.values_list())) for model in models]
    return hashlib.sha256(repr(rows).encode()).hexdigest()
