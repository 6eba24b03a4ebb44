"""What a thread is called when a run of it did not happen."""

import uuid
from collections.abc import Collection
from typing import Any

from runs.models import Run, Thread
from runs.titles import first_human, made_title, title_of


def retitle(thread_id: str, values: Any, *, without: Collection[uuid.UUID] = ()) -> None:
    """Call the thread what the `values` of its state say, else what its first run but for those was asked.

    In the caller's transaction, which holds the thread. Empty when nothing was asked.
    """
    title = title_of(values)
    if not title:
        runs = Run.objects.filter(thread_id=thread_id).exclude(run_id__in=without).order_by("position")
        quotes = runs.values_list("first_human_message", "kwargs").iterator(chunk_size=20)
        asked = (quoted or first_human(kwargs.get("input")) for quoted, kwargs in quotes)
        title = made_title(next((text for text in asked if text), ""))
    Thread.objects.filter(pk=thread_id).update(title=title)
