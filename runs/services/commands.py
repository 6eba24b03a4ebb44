"""Commands of the Agent Streaming Protocol, whichever way they come: by a request or by a socket.

Refused   by NotFound, Conflict, Invalid: an error of the protocol, as is a lack of permission
          by Unavailable: it stays that, for whoever carried the command here to say that it is worth trying again
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from pydantic import ValidationError

from accounts.permissions import lacking
from accounts.tenancy import Tenant
from runs.exceptions import Forbidden, Invalid, NotFound, Refusal, Unavailable
from runs.protocol.commands import Command, CommandFailed, Done, ErrorCode, problems_of
from runs.protocol.requests import commands as requests
from runs.services import command_reads, command_runs, creation, runs, state
from runs.services.once import Once

Action = Callable[[Tenant, str, Any, Once | None], Done]


class _Method(NamedTuple):
    params: type[requests.Params]
    needs: str
    action: Action


_METHODS = {
    "run.start": _Method(requests.RunStart, "runs:create", command_runs.start_run),
    "input.respond": _Method(requests.InputRespond, "runs:create", command_runs.respond),
    "input.inject": _Method(requests.InputInject, "threads:write", command_runs.inject),
    "agent.getTree": _Method(requests.GetTree, "threads:read", command_reads.get_tree),
    "state.get": _Method(requests.StateGet, "threads:read", command_reads.state_of),
    "state.listCheckpoints": _Method(requests.ListCheckpoints, "threads:read", command_reads.list_checkpoints),
    "state.fork": _Method(requests.StateFork, "runs:create", command_runs.fork),
}

#: They are about the connection on which they come.
SUBSCRIPTIONS = frozenset({"subscription.subscribe", "subscription.unsubscribe", "subscription.reconnect"})

#: What is not there, or not so, by the words that say it.
_CODES = {
    runs.NOT_FOUND: ErrorCode.NO_SUCH_RUN,
    state.NOT_FOUND: ErrorCode.NO_SUCH_CHECKPOINT,
    state.NAMESPACE_NOT_FOUND: ErrorCode.NO_SUCH_NAMESPACE,
    creation.NOTHING_TO_RESUME: ErrorCode.NO_SUCH_INTERRUPT,
}


def perform(tenant: Tenant, thread_id: str, command: Command, once: Once | None = None) -> Done:
    """Do what `command` asks for on this thread; nothing, when that fails.

    `once` counts where a run is started. Raises CommandFailed, and Unavailable.
    """
    method = _METHODS.get(command.method)
    if method is None:
        raise _not_known(command.method)
    if not tenant.can(method.needs):
        raise CommandFailed(ErrorCode.PERMISSION_DENIED, lacking(method.needs))
    try:
        return method.action(tenant, thread_id, method.params.model_validate(command.params), once)
    except ValidationError as exc:
        raise CommandFailed(ErrorCode.INVALID_ARGUMENT, problems_of(exc)) from None
    except Unavailable:
        raise
    except Refusal as exc:
        raise _failed(exc) from None


def _not_known(method: str) -> CommandFailed:
    if method in SUBSCRIPTIONS:
        reason = "A stream of events is its own subscription; on a WebSocket there may be several."
        return CommandFailed(ErrorCode.NOT_SUPPORTED, reason)
    return CommandFailed(ErrorCode.UNKNOWN_COMMAND, f"Unknown command: {method[:100]}")


def _failed(refusal: Refusal) -> CommandFailed:
    if refusal.detail in _CODES:
        return CommandFailed(_CODES[refusal.detail], refusal.detail)
    if isinstance(refusal, Invalid):
        # The first step says in which part of a request it is.
        where = ".".join(map(str, refusal.loc[1:]))
        return CommandFailed(ErrorCode.INVALID_ARGUMENT, f"{where}: {refusal.detail}" if where else refusal.detail)
    if isinstance(refusal, NotFound):
        return CommandFailed(ErrorCode.INVALID_ARGUMENT, refusal.detail)
    if isinstance(refusal, Forbidden):
        return CommandFailed(ErrorCode.PERMISSION_DENIED, refusal.detail)
    return CommandFailed(ErrorCode.UNKNOWN_ERROR, refusal.detail)
