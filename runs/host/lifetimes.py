"""Threads whose lifetime is over: nothing has changed them for as long as they were to live.

Changes do not move `expires_at`. Whoever finds a thread by it looks when it was changed last, and moves it then; so
runs spend nothing on it.
"""

from contextlib import suppress
from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from runs import lifecycle
from runs.lifecycle import Place
from runs.models import Run, Thread
from runs.models.thread import ThreadQuerySet
from runs.states import ACTIVE

_BATCH = 200
_TRY_AGAIN = timedelta(hours=1)
_COLUMNS = ("thread_id", "updated_at", "ttl_minutes", "ttl_strategy", "expires_at", "last_position")


def due_threads() -> list[Thread]:
    """Threads whose lifetime is over, with what tells of it; the busy ones are left until they are not."""
    due = []
    active = Run.objects.filter(thread=OuterRef("pk"), status__in=ACTIVE)
    looked_for = Thread.objects.filter(~Exists(active), expires_at__lte=timezone.now())
    for thread in looked_for.order_by("expires_at").only(*_COLUMNS)[:_BATCH]:
        if thread.ends_at is None or thread.ends_at > timezone.now():
            _as_found(thread).update(expires_at=thread.ends_at)
        else:
            due.append(thread)
    return due


def delete_due(thread: Thread) -> None:
    """Delete it, unless it was changed or used since it was found."""
    with transaction.atomic(), suppress(Thread.DoesNotExist):
        if _still_due(thread):
            lifecycle.delete_thread(thread.pk)


def turn_of_due(thread: Thread) -> int | None:
    """Take a turn to prune it; None when it was changed or used since it was found.

    If that fails, it is tried again after a while, so that nobody waits behind it.
    """
    with transaction.atomic():
        if not _still_due(thread):
            return None
        expires_at = timezone.now() + _TRY_AGAIN
        _as_found(thread).update(expires_at=expires_at)
        thread.expires_at = expires_at
        return lifecycle.reserve_position(Place(thread_id=thread.pk, last_position=thread.last_position))


def lived(thread: Thread) -> None:
    """It was pruned: that was its lifetime."""
    _as_found(thread).update(ttl_minutes=None, ttl_strategy="", expires_at=None)


def _still_due(thread: Thread) -> bool:
    """Whether nothing has come in between, which nothing can until the transaction ends."""
    lifecycle.lock_threads([thread.pk])
    return _as_found(thread).filter(last_position=thread.last_position, updated_at=thread.updated_at).exists()


def _as_found(thread: Thread) -> ThreadQuerySet:
    return Thread.objects.filter(pk=thread.pk, ttl_minutes=thread.ttl_minutes, expires_at=thread.expires_at)
