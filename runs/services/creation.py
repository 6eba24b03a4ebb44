"""Runs: created."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from django.conf import settings
from django.db import IntegrityError, transaction

from accounts.tenancy import Tenant
from runs import lifecycle
from runs.exceptions import Conflict, Invalid, NotFound
from runs.identifiers import is_thread_id, new_id
from runs.lifecycle import NewRun, Place, ThreadBusy
from runs.models import Assistant, Run, Thread
from runs.protocol.requests.runs import BatchItem, RunRequest
from runs.services.assistants import NOT_FOUND as ASSISTANT_NOT_FOUND
from runs.services.assistants import runnable_assistant
from runs.services.once import Once, create_once, made_before
from runs.services.requested import requested_run
from runs.services.state import demand_checkpoint
from runs.services.threads import NOT_FOUND as THREAD_NOT_FOUND
from runs.services.threads import hold_thread, new_place
from runs.services.webhooks import check_webhook
from runs.states import ThreadStatus

NOTHING_TO_RESUME = "The thread waits for no answer; there is nothing to resume."

#: Makes the run that is asked for into the one that suits its thread, which is held.
Adapt = Callable[[Place, NewRun], NewRun]

_THREAD_ID = ("body", "config", "configurable", "thread_id")


def create_run(tenant: Tenant, thread_id: str, body: RunRequest, once: Once | None = None) -> Run:
    """A run on a thread, which is made when it does not exist and the request allows that.

    Raises NotFound, Invalid, Unavailable, and Conflict when the thread is busy and the strategy is to reject, or when
    it is resumed and waits for nothing.
    """
    return _create_all(tenant, once, lambda: [_on_thread(tenant, thread_id, body)])[0]


def create_run_by_command(
    tenant: Tenant, thread_id: str, body: RunRequest, adapt: Adapt, once: Once | None = None
) -> Run:
    """As `create_run`, by the Agent Streaming Protocol: the run is what `adapt` makes of it once the thread is held.

    Raises what `adapt` raises, too; then nothing was written.
    """

    def prepare() -> list[_Asked]:
        return [replace(_on_thread(tenant, thread_id, body, by_protocol=True), adapt=adapt)]

    return _create_all(tenant, once, prepare)[0]


def create_stateless_run(tenant: Tenant, body: RunRequest, once: Once | None = None) -> Run:
    """A run on a thread of its own, or on the one in `config.configurable.thread_id`. Raises as `create_run`."""
    return _create_all(tenant, once, lambda: [_stateless(tenant, body)])[0]


def create_batch(tenant: Tenant, items: Sequence[BatchItem], once: Once | None = None) -> Sequence[Run]:
    """All of these runs, or none. Raises as `create_run`."""

    def prepare() -> list[_Asked]:
        return [
            _on_thread(tenant, item.thread_id, item) if item.thread_id else _stateless(tenant, item) for item in items
        ]

    return _create_all(tenant, once, prepare)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A run that can be created, as far as can be seen without holding its thread."""

    new: NewRun
    thread_id: str
    #: The thread's id was made for it.
    fresh: bool = False
    temporary: bool = False
    #: Whether the thread may be made.
    create: bool = True
    adapt: Adapt | None = None


def _on_thread(tenant: Tenant, thread_id: str, body: RunRequest, *, by_protocol: bool = False) -> _Asked:
    if not is_thread_id(thread_id):
        raise NotFound(THREAD_NOT_FOUND)
    if body.configurable.get("thread_id") not in (None, thread_id):
        raise Invalid(_THREAD_ID, "is not the thread of this address")
    if body.on_completion == "delete":
        raise Invalid(("body", "on_completion"), "can delete the thread of a stateless run only")
    new = _requested(tenant, thread_id, body, by_protocol=by_protocol)
    return _Asked(new, thread_id, create=_creates(body))


def _creates(body: RunRequest) -> bool:
    return (body.if_not_exists or settings.DEFAULT_IF_NOT_EXISTS) == "create"


def _stateless(tenant: Tenant, body: RunRequest) -> _Asked:
    named = body.configurable.get("thread_id")
    if named is not None and not is_thread_id(named):
        raise Invalid(_THREAD_ID, "must be a UUID, or 1 to 64 letters, digits, '_' and '-'")
    if named is not None:
        if body.on_completion == "delete":
            raise Invalid(("body", "on_completion"), "can delete the thread that a stateless run has for itself only")
        return _Asked(_requested(tenant, named, body), named, create=_creates(body))
    thread_id = str(new_id())
    temporary = (body.on_completion or settings.DEFAULT_ON_COMPLETION) == "delete"
    new = _requested(tenant, thread_id, body, temporary=temporary)
    return _Asked(new, thread_id, fresh=True, temporary=temporary)


def _requested(
    tenant: Tenant, thread_id: str, body: RunRequest, *, temporary: bool = False, by_protocol: bool = False
) -> NewRun:
    if body.webhook:
        check_webhook(tenant, body.webhook)
    assistant = runnable_assistant(tenant, body.assistant_id or settings.DEFAULT_ASSISTANT)
    new = requested_run(tenant, assistant, thread_id, body, temporary=temporary, by_protocol=by_protocol)
    demand_checkpoint(tenant, thread_id, new.kwargs["config"]["configurable"])
    return new


def _create_all(tenant: Tenant, once: Once | None, prepare: Callable[[], Sequence[_Asked]]) -> Sequence[Run]:
    rows = Run.objects.for_tenant(tenant)
    before = made_before(tenant, once, rows)
    if before is not None:
        return before
    # An engine may be asked, so no transaction is open.
    asked = prepare()

    def create() -> Sequence[Run]:
        if len(asked) > 1:
            _hold_all(tenant, asked)
        return [_create(tenant, each) for each in asked]

    try:
        return create_once(tenant, once, rows, create)
    except IntegrityError:
        # At the commit, which waits for whoever deletes an assistant.
        wanted = {each.new.assistant_id for each in asked}
        if Assistant.objects.for_tenant(tenant).filter(pk__in=wanted).count() < len(wanted):
            raise NotFound(ASSISTANT_NOT_FOUND) from None
        raise


def _hold_all(tenant: Tenant, asked: Sequence[_Asked]) -> None:
    """Hold the threads that are named, and make those that may be made, in one order for everybody.

    They are made first: who waits for somebody who makes the same one holds none that is there.
    """
    create: dict[str, bool] = {}
    for each in asked:
        if not each.fresh:
            create.setdefault(each.thread_id, each.create)
    there = set(Thread.objects.for_tenant(tenant).filter(pk__in=create).values_list("pk", flat=True))
    for thread_id in sorted(create.keys() - there):
        if create[thread_id]:
            with contextlib.suppress(IntegrityError), transaction.atomic():
                new_place(tenant, thread_id)
    lifecycle.lock_threads(create)


def _create(tenant: Tenant, asked: _Asked) -> Run:
    if asked.fresh:
        _demand_answer(Place(thread_id=asked.thread_id), asked.new)
        return lifecycle.add_thread_with_run(asked.thread_id, asked.new, temporary=asked.temporary)
    place = _place(tenant, asked.thread_id, create=asked.create)
    if place.temporary:
        raise Conflict("The thread is still being made, or goes with its stateless run.")
    new = asked.adapt(place, asked.new) if asked.adapt else asked.new
    _demand_answer(place, new)
    try:
        return lifecycle.add_run(place, new)
    except ThreadBusy as exc:
        raise Conflict(str(exc)) from exc


def _demand_answer(place: Place, new: NewRun) -> None:
    """Raise Conflict when the run does nothing but resume a thread that waits for nothing."""
    command = new.kwargs["command"]
    if command and set(command) == {"resume"} and not place.busy and place.settled_status == ThreadStatus.IDLE:
        raise Conflict(NOTHING_TO_RESUME)


def _place(tenant: Tenant, thread_id: str, *, create: bool) -> Place:
    """The thread that a run is asked for on, made if that is allowed. Raises NotFound, also for somebody else's."""
    try:
        return hold_thread(tenant, thread_id)
    except NotFound:
        if not create:
            raise
    try:
        with transaction.atomic():
            return new_place(tenant, thread_id)
    except IntegrityError:
        return hold_thread(tenant, thread_id)
