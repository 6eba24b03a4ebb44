"""Threads that are made in several steps: withheld like temporary ones until they are whole.

If whoever makes one dies before that, it is deleted as temporary threads are, and its checkpoints with it.
"""

from typing import Any

from django.utils import timezone

from runs.lifecycle.create import new_thread
from runs.models import Thread


def withhold_thread(thread_id: str, *, fresh: bool, **fields: Any) -> Thread:
    """A new thread that lists do not show yet, and whose first turn is its maker's. In the caller's transaction.

    Raises as `add_thread`.
    """
    return new_thread(Thread(thread_id=thread_id, temporary=True, last_position=1, **fields), fresh=fresh)


def publish_thread(thread: Thread) -> bool:
    """Show a thread that was withheld, as it is now in `thread`; False when it is gone.

    What a run that has come since has to say of it counts more.
    """
    rows = Thread.objects.filter(pk=thread.pk)
    thread.temporary = False
    thread.updated_at = thread.state_updated_at = timezone.now()
    rows.filter(last_position=thread.last_position).update(
        status=thread.status,
        settled_status=thread.status,
        values=thread.values,
        interrupts=thread.interrupts,
        error=thread.error,
        state_updated_at=thread.state_updated_at,
    )
    shown = rows.update(
        temporary=False,
        title=thread.title,
        config=thread.config,
        pinned=thread.pinned,
        ttl_minutes=thread.ttl_minutes,
        ttl_strategy=thread.ttl_strategy,
        expires_at=thread.ends_at,
        updated_at=thread.updated_at,
    )
    return shown == 1
