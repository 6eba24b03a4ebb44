"""What has to be done from time to time, whoever does it: each call does a bounded piece."""

import contextlib
from datetime import timedelta

from django.conf import settings
from django.db import connection
from django.db.models import Exists, OuterRef
from django.utils import timezone

from runs.identifiers import system_assistant_id
from runs.lifecycle import delete_thread
from runs.models import Assistant, CreatedOnce, EventChunk, Graph, Purge, Run, Thread
from runs.states import ACTIVE

#: A stateless run's thread is kept so long after the run, for readers that come back.
KEEP_TEMPORARY = timedelta(minutes=5)
_BATCH = 200


def register_graphs(errors: dict[str, str], *, complete: bool = True, tell_errors: bool = True) -> None:
    """Make the rows of these graphs and of their system assistants agree with what the engines found.

    `errors`: for each graph why it can not run, empty when it can; kept only from a host that runs graphs
    (`tell_errors`). If these are all there are (`complete`), graphs that are not named any more stay, with an error,
    for the threads that used them. In a cluster another process may have newer ones.
    """
    for graph_id, error in errors.items():
        if tell_errors:
            Graph.objects.update_or_create(graph_id=graph_id, defaults={"error": error})
        else:
            Graph.objects.get_or_create(graph_id=graph_id)
        Assistant.objects.get_or_create(
            assistant_id=system_assistant_id(graph_id),
            defaults={"graph_id": graph_id, "name": graph_id, "metadata": {"created_by": "system"}},
        )
    if complete:
        unnamed = Graph.objects.exclude(graph_id__in=errors)
        unnamed.update(error="This server's configuration does not name it any more.")


def expire_temporary_threads() -> None:
    """Delete the threads of stateless runs that ended a while ago."""
    active = Run.objects.filter(thread=OuterRef("pk"), status__in=ACTIVE)
    ended = Thread.objects.filter(temporary=True, updated_at__lt=timezone.now() - KEEP_TEMPORARY)
    for thread_id in ended.filter(~Exists(active)).values_list("pk", flat=True)[:_BATCH]:
        with contextlib.suppress(Thread.DoesNotExist):  # somebody else was here
            delete_thread(thread_id)


def prune_events() -> None:
    """Forget the events of runs that ended before the retention began: of each run all at once."""
    before = timezone.now() - timedelta(days=settings.EVENT_RETENTION_DAYS)
    old = EventChunk.objects.filter(created_at__lt=before, run__ended_at__lt=before).order_by("created_at")
    runs = set(old.values_list("run_id", flat=True)[:_BATCH])
    if runs:
        EventChunk.objects.filter(run_id__in=runs).delete()


_END_STUCK = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND application_name = 'deerflow checkpoints'
AND wait_event = 'ClientRead' AND xact_start < NOW() - make_interval(secs => %s)
"""


def end_stuck_writers() -> None:
    """End the transactions of those who were stopped while they wrote checkpoints, and hold runs by it.

    Their time limit for idle transactions does not see them: they are in the middle of a statement.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(_END_STUCK, [settings.LEASE_SECONDS])


def purges() -> list[str]:
    """Deleted threads whose checkpoints are still there."""
    return list(Purge.objects.order_by("created_at").values_list("pk", flat=True)[:_BATCH])


def purged(thread_id: str) -> None:
    Purge.objects.filter(pk=thread_id).delete()


def forget_keys() -> None:
    """Forget the Idempotency-Keys of yesterday."""
    old = CreatedOnce.objects.filter(created_at__lt=timezone.now() - CreatedOnce.KEPT_FOR).order_by("created_at")
    CreatedOnce.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:_BATCH])).delete()
