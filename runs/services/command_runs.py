"""Commands of the Agent Streaming Protocol that start runs."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from accounts.permissions import lacking
from accounts.tenancy import Tenant
from runs.exceptions import Conflict, Invalid, NotFound
from runs.lifecycle import NewRun, Place
from runs.models import Run
from runs.protocol.commands import CommandFailed, Done, ErrorCode
from runs.protocol.requests.base import Json
from runs.protocol.requests.commands import InputInject, InputRespond, RunStart, StateFork
from runs.protocol.requests.runs import RunRequest
from runs.protocol.requests.state import StateUpdate
from runs.services.assistants import NOT_FOUND as ASSISTANT_NOT_FOUND
from runs.services.creation import create_run_by_command
from runs.services.interrupts import CHANGED, TRIES, Known, knowing_interrupts, pending_interrupts
from runs.services.once import Once
from runs.services.state import update_state
from runs.services.threads import get_thread
from runs.states import CancelAction, RunStatus

#: Both are the protocol's: a run goes on without its reader, and what is said to a busy thread is taken.
_DEFAULTS = {"on_disconnect": "continue", "multitask_strategy": "enqueue", "if_not_exists": "create"}


def start_run(tenant: Tenant, thread_id: str, params: RunStart, once: Once | None) -> Done:
    """A run with this input or, on a thread that waits for one answer, with the input as the answer."""
    if params.langsmith_tracer:
        raise CommandFailed(ErrorCode.NOT_SUPPORTED, "langsmith_tracer: this server sends no traces to LangSmith.")
    asked = {"checkpoint_id": params.fork_from} if params.fork_from else {}
    body = _request(params, **asked)

    def create(known: Known | None) -> Done:
        def adapt(place: Place, new: NewRun) -> NewRun:
            if not _may_answer(new):
                return new
            return _answering(new, pending_interrupts(tenant, place, known))

        return _created(tenant, thread_id, body, once, adapt)

    return knowing_interrupts(tenant, thread_id, create)


def _may_answer(new: NewRun) -> bool:
    """Whether its input may be meant as an answer: it does not say where or how else to go on."""
    starts_elsewhere = new.kwargs["config"]["configurable"].get("checkpoint_id")
    return new.kwargs["input"] is not None and not new.kwargs["command"] and not starts_elsewhere


def _answering(new: NewRun, waiting: Sequence[str]) -> NewRun:
    if not waiting:
        return new
    if len(waiting) > 1:
        raise Invalid(("body", "input"), f"{len(waiting)} interrupts wait for an answer; name them with input.respond")
    command = {"resume": {waiting[0]: new.kwargs["input"]}}
    return replace(new, kwargs={**new.kwargs, "input": None, "command": command, "strict_resume": True})


def respond(tenant: Tenant, thread_id: str, params: InputRespond, once: Once | None) -> Done:
    """A run that resumes the thread with answers to interrupts all of which wait for one."""
    named = list(params.resume)

    def create(known: Known | None) -> Done:
        assistant = _last_assistant(tenant, thread_id)
        body = RunRequest(
            assistant_id=assistant,
            command=params.command,
            config=params.config,
            metadata=params.metadata,
            strict_resume=True,
        )

        def adapt(place: Place, new: NewRun) -> NewRun:
            waiting = pending_interrupts(tenant, place, known)
            if unknown := next((name for name in named if name not in waiting), None):
                raise CommandFailed(
                    ErrorCode.NO_SUCH_INTERRUPT, f"Unknown or already-consumed interrupt: {unknown[:100]}"
                )
            if assistant != _last_assistant(tenant, thread_id):
                raise Conflict(CHANGED)
            return new

        return _created(tenant, thread_id, _request(body, if_not_exists="reject"), once, adapt)

    return knowing_interrupts(tenant, thread_id, create)


def fork(tenant: Tenant, thread_id: str, params: StateFork, once: Once | None) -> Done:
    """A run that starts from a checkpoint."""
    body = RunRequest(
        assistant_id=_last_assistant(tenant, thread_id),
        checkpoint_id=params.checkpoint_id,
        input=params.input,
        config=params.config,
    )
    done = _created(tenant, thread_id, _request(body, if_not_exists="reject"), once, _as_asked)
    return done._replace(result={**done.result, "thread_id": thread_id})


class _Idle(Exception):
    """No run of the thread is active."""


def inject(tenant: Tenant, thread_id: str, params: InputInject, once: Once | None) -> Done:
    """A message for the graph: after the active run a run with it; without one it is written into the state."""
    if params.namespace:
        raise CommandFailed(ErrorCode.NOT_SUPPORTED, "namespace: messages can be injected into the root graph only.")
    given = {"messages": [params.message.model_dump(exclude_none=True)]}
    for _ in range(TRIES):
        with suppress(_Idle):
            _inject_run(tenant, thread_id, given)
            return Done({})
        with suppress(Conflict):
            update_state(tenant, thread_id, StateUpdate(values=given))
            return Done({})
    raise Conflict(CHANGED)


def _inject_run(tenant: Tenant, thread_id: str, given: Json) -> None:
    body = RunRequest(assistant_id=_active_assistant(tenant, thread_id), input=given)
    if not tenant.can("runs:create"):
        raise CommandFailed(ErrorCode.PERMISSION_DENIED, lacking("runs:create"))
    _created(tenant, thread_id, _request(body, if_not_exists="reject"), None, _only_after_another)


def _active_assistant(tenant: Tenant, thread_id: str) -> str:
    """Of the run that is executed, else of the next one. Raises _Idle, and NotFound for the thread."""
    get_thread(tenant, thread_id)
    active = Run.objects.for_tenant(tenant).filter(thread_id=thread_id).active().order_by("position")
    found = dict(active.values_list("status", "assistant_id")[::-1])
    if not found:
        raise _Idle
    return _named(found.get(RunStatus.RUNNING, found.get(RunStatus.PENDING)))


def _only_after_another(place: Place, new: NewRun) -> NewRun:
    if not place.busy:
        raise _Idle
    return new


def _last_assistant(tenant: Tenant, thread_id: str) -> str:
    """Of the thread's last run that was not undone; without one, what the thread was made for. Raises NotFound."""
    thread = get_thread(tenant, thread_id)
    runs = Run.objects.for_tenant(tenant).filter(thread=thread).exclude(cancel_action=CancelAction.ROLLBACK)
    last = runs.order_by("-position").values_list("assistant_id").first()
    if last is not None:
        return _named(last[0])
    made_for = thread.metadata.get("assistant_id")
    return made_for if isinstance(made_for, str) and 0 < len(made_for) <= 64 else _named(thread.graph_id)


def _named(assistant: Any) -> str:
    if not assistant:
        raise NotFound(ASSISTANT_NOT_FOUND)
    return str(assistant)


def _request(body: RunRequest, **over: Any) -> RunRequest:
    """`body` with what it does not say."""
    unsaid = {name: value for name, value in _DEFAULTS.items() if getattr(body, name) is None}
    return body.model_copy(update=unsaid | over)


def _as_asked(place: Place, new: NewRun) -> NewRun:
    return new


def _created(
    tenant: Tenant, thread_id: str, body: RunRequest, once: Once | None, adapt: Callable[[Place, NewRun], NewRun]
) -> Done:
    found: list[Place] = []

    def seen(place: Place, new: NewRun) -> NewRun:
        found.append(place)
        return adapt(place, new)

    run = create_run_by_command(tenant, thread_id, body, seen, once)
    # Behind an active run the reader's place is its own.
    alone = bool(found) and not found[-1].busy
    return Done({"run_id": str(run.run_id)}, {"applied_through_seq": run.after_seq} if alone else None)
