"""What has to be done from time to time, whoever does it: each call does a bounded piece."""

from datetime import timedelta

from django.conf import settings
from django.db.models import Exists, OuterRef
from django.utils import timezone

from runs.identifiers import system_assistant_id
from runs.lifecycle import delete_thread
from runs.models import Assistant, EventChunk, Graph, Purge, Run, Thread
from runs.states import ACTIVE

#: A stateless run's thread is kept so long after the run, for readers that come back.
KEEP_TEMPORARY = timedelta(seconds=60)
_BATCH = 200


def register_graphs(errors: dict[str, str]) -> None:
    """Make the rows of these graphs and of their system assistants agree with what the engines found.

    `errors`: for each graph why it can not run, empty when it can. Graphs that are not named here any more stay, with
    an error, for the threads that used them.
    """
    for graph_id, error in errors.items():
        Graph.objects.update_or_create(graph_id=graph_id, defaults={"error": error})
        Assistant.objects.get_or_create(
            assistant_id=system_assistant_id(graph_id),
            defaults={"graph_id": graph_id, "name": graph_id, "metadata": {"created_by": "system"}},
        )
    Graph.objects.exclude(graph_id__in=errors).update(error="This server's configuration does not name it any more.")


def expire_temporary_threads() -> None:
    """Delete the threads of stateless runs that ended a while ago."""
    active = Run.objects.filter(thread=OuterRef("pk"), status__in=ACTIVE)
    ended = Thread.objects.filter(temporary=True, updated_at__lt=timezone.now() - KEEP_TEMPORARY)
    for thread_id in ended.filter(~Exists(active)).values_list("pk", flat=True)[:_BATCH]:
        delete_thread(thread_id)


def prune_events() -> None:
    """Forget the events of runs that ended before the retention began: of each run all at once."""
    before = timezone.now() - timedelta(days=settings.EVENT_RETENTION_DAYS)
    old = EventChunk.objects.filter(created_at__lt=before, run__ended_at__lt=before).order_by("created_at")
    runs = set(old.values_list("run_id", flat=True)[:_BATCH])
    if runs:
        EventChunk.objects.filter(run_id__in=runs).delete()


def purges() -> list[str]:
    """Deleted threads whose checkpoints are still there."""
    return list(Purge.objects.order_by("created_at").values_list("pk", flat=True)[:_BATCH])


def purged(thread_id: str) -> None:
    Purge.objects.filter(pk=thread_id).delete()
