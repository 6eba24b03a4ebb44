"""What the commands of a socket say, and how they are performed."""

import asyncio
from collections.abc import Callable

from pydantic import ValidationError
from rest_framework.exceptions import APIException, ParseError

from accounts.access import tenants_in_force
from accounts.tenancy import Tenant
from runs import calls
from runs.api.access import AccessLost
from runs.api.wire import parse_json
from runs.database import in_command_thread
from runs.exceptions import Unavailable
from runs.protocol.commands import Command, CommandMalformed, Done, parse, problems_of, success
from runs.protocol.requests.base import Body, Json
from runs.protocol.requests.events import Subscription
from runs.protocol.requests.subscriptions import Reconnect, Unsubscribe
from runs.services.commands import perform
from runs.services.questions import NO_ENGINE
from runs.services.readers import READ

NOT_JSON = "Protocol commands must be valid JSON."
#: Larger commands are read in a thread: the loop has others to serve.
_LARGE = 65536

#: Of commands that are about the socket itself.
_PARAMS: dict[str, type[Body]] = {
    "subscription.subscribe": Subscription,
    "subscription.unsubscribe": Unsubscribe,
    "subscription.reconnect": Reconnect,
}

#: How many parts a replay has that is long.
_LONG = 2


class Restored:
    """A command whose answer waits until its subscriptions have been shown what they missed."""

    def __init__(
        self, command_id: int, waits_for: set[str], result: Callable[[int], Json], *, may_be_early: bool = False
    ) -> None:
        self.command_id = command_id
        #: Whether it may be answered in the midst of a long replay, without what is only known at its end.
        self.may_be_early = may_be_early
        self.waits_for = waits_for
        self._result = result
        self._shown = 0
        self._parts = 0

    def is_long(self) -> bool:
        """Asked after each part that was delivered meanwhile: whether to answer before the last one."""
        self._parts += 1
        return self._parts >= _LONG

    def joined(self, subscription_id: str, shown: int) -> None:
        self.waits_for.discard(subscription_id)
        # Each is told of all that was shown to them together.
        self._shown = max(self._shown, shown)

    @property
    def answer(self) -> Json:
        return success(self.command_id, Done(self._result(self._shown)))


async def read(text: bytes) -> tuple[Command, Body | None]:
    """The command, and its params if it is about subscriptions. Raises CommandMalformed."""
    return await in_command_thread(_parsed, text) if len(text) > _LARGE else _parsed(text)


def _parsed(text: bytes) -> tuple[Command, Body | None]:
    if not text.strip():
        raise CommandMalformed(None, NOT_JSON)
    try:
        command = parse(parse_json(text))
    except ParseError:
        raise CommandMalformed(None, NOT_JSON) from None
    except APIException as exc:
        raise CommandMalformed(None, str(exc.detail)) from None
    kind = _PARAMS.get(command.method)
    try:
        return command, kind.model_validate(command.params) if kind else None
    except ValidationError as exc:
        raise CommandMalformed(command.id, problems_of(exc)) from None


async def performed(tenant: Tenant, thread_id: str, command: Command) -> Done:
    """Perform it in a thread; what asks an engine needs a permit. Raises what `perform_now` does."""
    try:
        return await in_command_thread(perform_now, tenant, thread_id, command)
    except calls.PermitNeeded:
        # The thread goes on when the socket ends, and so long it has the permit.
        return await asyncio.shield(_performed_with_permit(tenant, thread_id, command))


async def _performed_with_permit(tenant: Tenant, thread_id: str, command: Command) -> Done:
    try:
        async with calls.permit():
            return await in_command_thread(perform_now, tenant, thread_id, command, permitted=True)
    except calls.NoEngine:
        raise Unavailable(NO_ENGINE) from None


def perform_now(tenant: Tenant, thread_id: str, command: Command, *, permitted: bool = False) -> Done:
    """Perform it with what the tenant may do now: a socket may be older than their role.

    Raises AccessLost, CommandFailed, Unavailable, and PermitNeeded unless it is `permitted` to ask an engine.
    """
    (now,) = tenants_in_force([tenant])
    if now is None:
        raise AccessLost(401)
    if not now.can(READ):
        raise AccessLost(403)
    with calls.performing(permitted=permitted):
        return perform(now, thread_id, command)
