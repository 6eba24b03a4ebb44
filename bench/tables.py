"""What searches take when tables have grown: the same pages in a small and in a large database, side by side.

    .venv/bin/python -m bench.tables [--threads 100000] [--messages 1000000]

Fills a database of its own, the one of DATABASE_URL if that is set, through the models; asks the services for pages as
the API does; prints medians in ms, and how the database goes about each.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "deerflow_site.settings")
_data = tempfile.TemporaryDirectory()
os.environ["DEERFLOW_DATA_DIR"] = _data.name

import django  # noqa: E402

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402
from django.utils import timezone  # noqa: E402

from accounts.models import User  # noqa: E402
from accounts.services import create_organization  # noqa: E402
from accounts.tenancy import Tenant  # noqa: E402
from runs.identifiers import new_id  # noqa: E402
from runs.models import Message, Run, Thread  # noqa: E402
from runs.protocol.requests.threads import ThreadSearch  # noqa: E402
from runs.services import messages, thread_search  # noqa: E402
from runs.services.messages import Cursor  # noqa: E402
from runs.states import MultitaskStrategy, RunStatus  # noqa: E402

_ROUNDS = 30
_BATCH = 2000
_MESSAGES_PER_RUN = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=100_000)
    parser.add_argument("--messages", type=int, default=1_000_000)
    options = parser.parse_args()
    call_command("migrate", verbosity=0)
    owner = User.objects.create_user("alice@acme.test")
    organization = create_organization("acme", owner)
    tenant = Tenant(organization.pk, owner.pk, frozenset())
    small = fill(tenant, 100, 1000)
    before = {name: median(ask) for name, ask in questions(tenant, small).items()}
    large = fill(tenant, options.threads, options.messages)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    print(f"{'':34}{'small':>10}{'large':>10}   with {options.threads:,} threads, {options.messages:,} messages")
    for name, ask in questions(tenant, large).items():
        print(f"{name:34}{before[name]:10.2f}{median(ask):10.2f}")
        for line in plans(ask):
            print(f"    {line}")


def fill(tenant: Tenant, threads: int, count: int) -> str:
    """So many threads, and messages on one of them; answers its id."""
    made = [_thread(tenant, number) for number in range(threads)]
    Thread.objects.bulk_create(made, batch_size=_BATCH)
    thread = made[len(made) // 2]
    runs = [_run(tenant, thread, position) for position in range(1, count // _MESSAGES_PER_RUN + 1)]
    Run.objects.bulk_create(runs, batch_size=_BATCH)
    for first in range(0, len(runs), _BATCH // _MESSAGES_PER_RUN):
        some = runs[first : first + _BATCH // _MESSAGES_PER_RUN]
        Message.objects.bulk_create(_message(run, number) for run in some for number in range(_MESSAGES_PER_RUN))
    return thread.pk


def _thread(tenant: Tenant, number: int) -> Thread:
    now = timezone.now() - timedelta(seconds=number)
    return Thread(
        thread_id=str(new_id()),
        organization_id=tenant.organization_id,
        owner_id=tenant.user_id,
        metadata={"number": number},
        values={"messages": [{"type": "human", "content": "hello"}]},
        title=f"Thread {number}",
        updated_at=now,
        state_updated_at=now,
    )


def _run(tenant: Tenant, thread: Thread, position: int) -> Run:
    now = timezone.now()
    return Run(
        thread=thread,
        organization_id=tenant.organization_id,
        owner_id=tenant.user_id,
        graph_id="echo",
        status=RunStatus.SUCCESS,
        kwargs={},
        multitask_strategy=MultitaskStrategy.REJECT,
        position=position,
        after_seq=0,
        updated_at=now,
        ended_at=now,
    )


def _message(run: Run, number: int) -> Message:
    kind = "ai" if number % 2 else "human"
    return Message(
        thread_id=run.thread_id,
        run=run,
        seq=(run.position - 1) * _MESSAGES_PER_RUN + number + 1,
        kind=kind,
        caller="lead_agent",
        message_id=str(number),
        content={"type": kind, "content": f"message {number}"},
    )


def questions(tenant: Tenant, thread_id: str) -> dict[str, Callable[[], Any]]:
    def search(**body: Any) -> Callable[[], Any]:
        return lambda: thread_search.search_threads(tenant, ThreadSearch.model_validate({"limit": 20, **body}))

    def page(**cursor: int) -> Callable[[], Any]:
        return lambda: messages.thread_messages(tenant, thread_id, Cursor(50, **cursor))

    return {
        "threads: latest": search(),
        "threads: newest": search(sort_by="created_at"),
        "threads: idle": search(status="idle"),
        "threads: 20 pages on": search(offset=400),
        "messages: latest": page(),
        "messages: before": page(before=500),
        "messages: after": page(after=500),
    }


def median(ask: Callable[[], Any]) -> float:
    ask()
    times = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        ask()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def plans(ask: Callable[[], Any]) -> list[str]:
    with CaptureQueriesContext(connection) as captured:
        ask()
    explain = "EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN "
    lines = []
    with connection.cursor() as cursor:
        for query in captured:
            if query["sql"].startswith("SELECT"):
                cursor.execute(explain + query["sql"].replace("%", "%%"))
                lines += [str(row[-1]).strip()[:140] for row in cursor.fetchall()]
    return lines


if __name__ == "__main__":
    main()
