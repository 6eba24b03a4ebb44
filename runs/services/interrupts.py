"""The interrupts that a thread waits on, as of the moment in which a run is created."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import orjson

from accounts.tenancy import Tenant
from runs.exceptions import Conflict
from runs.lifecycle import Place
from runs.models import Run, Thread
from runs.protocol.requests.base import CheckpointBody
from runs.protocol.requests.state import CheckpointQuery
from runs.services.state import get_state
from runs.services.threads import get_thread
from runs.states import RunStatus, ThreadStatus

R = TypeVar("R")

#: How often to start again when a thread has changed meanwhile, and what to say then.
TRIES = 5
CHANGED = "The thread has changed meanwhile; try again."


class Known(NamedTuple):
    """What an engine said of a thread that has come to `position`."""

    position: int
    interrupts: list[str]


class Unsure(Exception):
    """Only an engine can tell, which is not to be asked while the thread is held."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


def knowing_interrupts(tenant: Tenant, thread_id: str, create: Callable[[Known | None], R]) -> R:
    """What `create` answers, which is called again with what an engine says when it is Unsure.

    Raises NotFound, Unavailable, and Conflict when the thread does not stand still for long enough.
    """
    known: Known | None = None
    for _ in range(TRIES):
        try:
            return create(known)
        except Unsure as unsure:
            query = CheckpointQuery(checkpoint=CheckpointBody(), select=["tasks"])
            state = orjson.loads(get_state(tenant, thread_id, query))
            by_task = {task["id"]: task["interrupts"] for task in state["tasks"]}
            known = Known(unsure.position, _ids(by_task))
    raise Conflict(CHANGED)


def pending_interrupts(tenant: Tenant, place: Place, known: Known | None) -> list[str]:
    """The ids of the interrupts that wait for an answer on this thread, which is held. Raises Unsure.

    Only a run that came to its end says what waits; another one may have got past what the row has.
    `known` counts if the thread has stood still since it was asked for: every run and every change of state moves it.
    """
    if place.busy or place.settled_status == ThreadStatus.IDLE:
        return []
    thread = get_thread(tenant, place.thread_id)
    found = _ids(thread.interrupts)
    if not found or _is_current(thread):
        return found
    if known is None or known.position != place.last_position:
        raise Unsure(place.last_position)
    return known.interrupts


def _is_current(thread: Thread) -> bool:
    """Whether the row is what the last thing that happened to the thread has left: a run that came to its end."""
    ended = Run.objects.filter(thread=thread, position=thread.last_position, status=RunStatus.SUCCESS)
    return ended.exists()


def _ids(by_task: dict[str, list[Any]]) -> list[str]:
    found = [item for items in by_task.values() for item in items]
    return list(dict.fromkeys(item["id"] for item in found if isinstance(item, dict) and "id" in item))
