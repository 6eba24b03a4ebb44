"""What was said on threads, and what it cost, read page by page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from django.db.models import Max, Prefetch, QuerySet, Sum

from accounts.tenancy import Tenant
from runs import log
from runs.models import Message, Run
from runs.records import Chunk, Record, unpack
from runs.services.runs import get_run
from runs.services.threads import get_thread
from runs.states import RunStatus
from runs.tally import LEAD_AGENT


@dataclass(frozen=True, slots=True)
class Cursor:
    """Which rows of a page: those after one number or before another, or the newest."""

    limit: int
    after: int | None = None
    before: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Rows in the order of the log, and whether there are more on the side that the page grows to."""

    rows: list[Message]
    has_more: bool
    #: By run, how many seconds it took; only of runs whose last answer is among the rows, by that row's id.
    durations: dict[int, int]


#: What a page tells of the runs of its rows.
_RUNS = Prefetch("run", queryset=Run.objects.only("thread_id", "owner_id", "created_at", "ended_at"))


def thread_messages(tenant: Tenant, thread_id: str, cursor: Cursor, *, with_helpers: bool = True) -> Page:
    """The messages of a thread; those of helpers of the agent too if `with_helpers`. Raises NotFound."""
    thread = get_thread(tenant, thread_id)
    found = Message.objects.filter(thread_id=thread.pk)
    return _page(found if with_helpers else found.filter(caller=LEAD_AGENT), cursor)


def run_messages(tenant: Tenant, thread_id: str | None, run_id: str, cursor: Cursor) -> Page:
    """The messages that a run brought. Raises NotFound."""
    run = get_run(tenant, thread_id, run_id)
    return _page(Message.objects.filter(run_id=run.pk), cursor)


def _page(found: QuerySet[Message], cursor: Cursor) -> Page:
    if cursor.after is not None:
        found = found.filter(seq__gt=cursor.after)
    if cursor.before is not None:
        found = found.filter(seq__lt=cursor.before)
    order = "-seq" if cursor.after is None else "seq"
    rows = list(found.prefetch_related(_RUNS).order_by(order)[: cursor.limit + 1])
    has_more = len(rows) > cursor.limit
    rows = sorted(rows[: cursor.limit], key=lambda row: row.seq)
    return Page(rows, has_more, _durations(rows))


def _durations(rows: Sequence[Message]) -> dict[int, int]:
    answers = [row for row in rows if row.kind == "ai" and row.caller == LEAD_AGENT and row.run.ended_at]
    if not answers:
        return {}
    runs = {row.run_id for row in answers}
    last = Message.objects.filter(run_id__in=runs, kind="ai", caller=LEAD_AGENT).values("run_id").annotate(Max("seq"))
    last_seqs = {row["seq__max"] for row in last}
    ended = [(row, row.run.ended_at) for row in answers if row.seq in last_seqs]
    return {row.pk: int((end - row.run.created_at).total_seconds()) for row, end in ended if end}


@dataclass(frozen=True, slots=True)
class Milestone:
    """What the log tells of a run itself: that it started, failed, ended."""

    run: Run
    seq: int
    event_type: str
    content: Any
    timestamp: int


_MILESTONES = {"metadata": "run.start", "error": "run.error", "end": "run.end"}
_TYPES = {"human": "llm.human.input", "ai": "llm.ai.response", "tool": "llm.tool.result"}


def event_type_of(kind: str) -> str:
    """The name of the event by which a message of this kind came."""
    return _TYPES.get(kind, f"llm.{kind}.input")


def run_events(
    tenant: Tenant,
    thread_id: str,
    run_id: str,
    *,
    after: int,
    limit: int,
    event_types: frozenset[str],
    task_id: str | None,
) -> list[Message | Milestone]:
    """What happened in a run, oldest first: its messages, its start and its end.

    `event_types`: these only, if there are some. `task_id`: only what was said for that task. Raises NotFound.
    """
    run = get_run(tenant, thread_id, run_id)
    found = Message.objects.filter(run_id=run.pk, seq__gt=after)
    if event_types:
        kinds = [kind for kind in ("human", "ai", "tool", "system") if event_type_of(kind) in event_types]
        found = found.filter(kind__in=kinds)
    found = found.prefetch_related(_RUNS).order_by("seq")
    if task_id is not None:
        return list(found.filter(metadata__task_id=task_id)[:limit])
    milestones = [
        one for one in _milestones(run) if one.seq > after and (not event_types or one.event_type in event_types)
    ]
    rows: list[Message | Milestone] = [*found[:limit], *milestones]
    return sorted(rows, key=lambda row: row.seq)[:limit]


def _milestones(run: Run) -> list[Milestone]:
    """A run starts with its first event, and ends with its last ones; nothing of it is left when events are pruned."""
    milestones: dict[str, Milestone] = {}
    for chunk in log.edges(run.pk):
        for seq, record in _marked(chunk):
            event_type = _MILESTONES[record.method]
            milestones.setdefault(
                event_type, Milestone(run, seq, event_type, orjson.loads(record.data), record.timestamp)
            )
    return list(milestones.values())


def _marked(chunk: Chunk) -> list[tuple[int, Record]]:
    return [(seq, record) for seq, record in unpack(chunk) if record.method in _MILESTONES and not record.namespace]


#: Runs whose use is settled. What an interrupted one has used is not counted, as its answer is not.
_SETTLED = (RunStatus.SUCCESS, RunStatus.ERROR, RunStatus.TIMEOUT)
_SUMS = (
    *("total_tokens", "total_input_tokens", "total_output_tokens"),
    *("lead_agent_tokens", "subagent_tokens", "middleware_tokens"),
)


@dataclass(frozen=True, slots=True)
class TokenUsage:
    thread_id: str
    runs: int
    #: The sums of the columns of the same names.
    sums: dict[str, int]
    #: `{model: {tokens, runs}}`; a run that called several counts for each.
    by_model: dict[str, dict[str, int]]


def token_usage(tenant: Tenant, thread_id: str, *, include_active: bool) -> TokenUsage:
    """What the runs of a thread have used. Raises NotFound."""
    thread = get_thread(tenant, thread_id)
    statuses = [*_SETTLED, RunStatus.RUNNING] if include_active else _SETTLED
    runs = Run.objects.for_tenant(tenant).filter(thread_id=thread.pk, status__in=statuses)
    sums = runs.aggregate(**{name: Sum(name, default=0) for name in _SUMS})
    by_model: dict[str, dict[str, int]] = {}
    for models in runs.exclude(tokens_by_model=None).values_list("tokens_by_model", flat=True):
        for model, used in (models or {}).items():
            so_far = by_model.setdefault(model, {"tokens": 0, "runs": 0})
            so_far["tokens"] += used["total_tokens"]
            so_far["runs"] += 1
    return TokenUsage(thread.pk, runs.count(), {name: int(total) for name, total in sums.items()}, by_model)
