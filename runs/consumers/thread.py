"""The WebSocket of a thread: the commands and events of the Agent Streaming Protocol.

A silent socket is two coroutines, one that listens and one that delivers: no thread, no database connection, and no
channel of the layer, since the hub hears for all of its process.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Coroutine
from contextlib import aclosing, suppress
from typing import Any
from uuid import UUID

from channels.consumer import get_handler_name
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.db import InterfaceError, OperationalError

from accounts.handshake import refuse
from accounts.permissions import lacking
from accounts.tenancy import Tenant
from runs.api.feed import AccessLost, Feed, Joined
from runs.api.wire import to_json
from runs.consumers.commands import Restored, perform_now, performed, read
from runs.consumers.inbox import Inbox
from runs.database import in_command_thread
from runs.exceptions import Unavailable
from runs.identifiers import is_thread_id
from runs.log import StreamCut
from runs.protocol import subscriptions
from runs.protocol.commands import Command, CommandFailed, CommandMalformed, Done, ErrorCode, failure, success
from runs.protocol.requests.base import Body, Json
from runs.protocol.requests.events import Subscription
from runs.protocol.requests.subscriptions import Reconnect, Unsubscribe
from runs.services.readers import READ

logger = logging.getLogger(__name__)

#: A socket that is to leave waits so long for the answer to the command that is being performed.
_ANSWER_SECONDS = 4.0

#: How many sockets of this process each key has, or each user by tokens.
_sockets: Counter[UUID | None] = Counter()


class ThreadConsumer(AsyncWebsocketConsumer):
    """One socket. Its commands are performed one after the other, and its events go on meanwhile."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        # Channels would open a channel of the layer for each socket, and look after a thread's database connections.
        self.scope = scope
        self.base_send = send
        #: Whether it was accepted; whether it was closed since.
        self._open = self._ended = False
        #: What delivers, and what performs while there are commands.
        self._tasks: set[asyncio.Task[None]] = set()
        self._obeys = False
        #: Whether it ends as soon as it has answered, and is there anything to answer.
        self._leaves = False
        self._answered = asyncio.Event()
        self._answered.set()
        try:
            while True:
                message = await receive()
                await getattr(self, get_handler_name(message))(message)
        except StopConsumer:
            pass
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if self._open:
                _count(self._tenant, -1)
                self._inbox.close()

    async def websocket_disconnect(self, message: Any) -> None:
        raise StopConsumer

    async def websocket_leave(self, message: Any) -> None:
        """The server leaves."""
        if self._open:
            self._start(self._leave())

    async def connect(self) -> None:
        scope: dict[str, Any] = dict(self.scope)
        self._tenant: Tenant = scope["tenant"]
        self._thread_id: str = scope["url_route"]["kwargs"]["thread_id"]
        if refusal := self._refusal():
            await refuse(scope, self.base_send, *refusal)
            return
        await self.accept()
        self._feed = Feed(self._tenant, self._thread_id)
        self._inbox = Inbox()
        #: By the subscriptions that they wait for.
        self._unanswered: dict[str, Restored] = {}
        self._subscriptions: set[str] = set()
        _count(self._tenant, 1)
        self._open = True
        self._start(self._deliver())

    def _refusal(self) -> tuple[int, str] | None:
        if not is_thread_id(self._thread_id):
            return 404, "Not Found"
        if not self._tenant.can(READ):
            return 403, lacking(READ)
        if _sockets[_counted_by(self._tenant)] >= settings.SOCKET_MAX_PER_CREDENTIAL:
            return 429, "This credential has too many sockets open."
        return None

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self._ended or self._leaves or not self._open:
            return
        # Commands are text; what is none is answered as what is no JSON.
        if not self._inbox.put((text_data or "").encode()):
            await self._end(4429, "Too many commands wait to be performed.")
        elif not self._obeys:
            self._obeys = True
            self._start(self._obey())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _end(self, code: int, reason: str) -> None:
        """Close the socket; nothing is delivered or performed any more."""
        self._ended = True
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        await self.close(code, reason)

    async def _leave(self) -> None:
        """Have the client come back to another server, once it has the answer to what is being performed."""
        if self._leaves:
            return
        self._leaves = True
        with suppress(TimeoutError):
            async with asyncio.timeout(_ANSWER_SECONDS):
                await self._answered.wait()
        await self._end(1012, "The server leaves; come back.")

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work of the socket until it ends, for whatever reason, and the socket with it."""
        try:
            await work
        except StreamCut:
            await self._leave()
        except AccessLost as exc:
            await self._end(4000 + exc.status, "You may not read this any more.")
        except (OperationalError, InterfaceError) as exc:
            logger.warning("the database failed a socket: %s", exc)
            await self._end(1013, "The database does not answer; try again.")
        except Exception:  # whatever it is, the client is not left waiting
            logger.exception("a socket failed")
            await self._end(1011, "Internal Server Error")

    async def _deliver(self) -> None:
        async with aclosing(self._feed.events()) as found:
            async for part in found:
                if isinstance(part, Joined):
                    await self._note_joined(part.subscription_id, part.replayed)
                    continue
                for event in part:
                    await self.send(text_data=event.body.decode())
                if part and self._unanswered:
                    await self._answer_long_replays()

    async def _obey(self) -> None:
        while self._inbox:
            async with self._inbox.next() as text:
                if not self._leaves:
                    await self._answer(text)
        self._obeys = False

    async def _answer(self, text: bytes) -> None:
        self._answered.clear()
        try:
            answer = await self._answer_to(text)
            if answer is not None:
                await self.send(text_data=to_json(answer).decode())
        finally:
            self._answered.set()

    async def _answer_to(self, text: bytes) -> Json | None:
        """What the client is answered; None when that is still to come."""
        try:
            command, params = await read(text)
        except CommandMalformed as exc:
            return failure(exc.id, ErrorCode.INVALID_ARGUMENT, exc.message)
        try:
            done = await self._perform(command, params)
        except CommandFailed as exc:
            return failure(command.id, exc.code, exc.message)
        except (Unavailable, OperationalError, InterfaceError) as exc:
            message = exc.detail if isinstance(exc, Unavailable) else "The database does not answer; try again."
            return failure(command.id, ErrorCode.UNKNOWN_ERROR, message)
        return None if done is None else success(command.id, done)

    async def _perform(self, command: Command, params: Body | None) -> Done | None:
        match params:
            case Subscription():
                self._subscribe(command.id, params)
                return None
            case Unsubscribe():
                return await self._unsubscribe(params)
            case Reconnect():
                _demand_few(len(set(params.subscriptions)))
                return await self._reconnect(command.id, params)
        return await performed(self._tenant, self._thread_id, command)

    def _subscribe(self, command_id: int, wanted: Subscription) -> None:
        try:
            new = subscriptions.new_id(wanted)
        except ValueError as exc:
            raise CommandFailed(ErrorCode.INVALID_ARGUMENT, str(exc)) from None
        self._join(
            Restored(
                command_id, {new}, lambda shown: {"subscription_id": new, "replayed_events": shown}, may_be_early=True
            ),
            {new: wanted},
            wanted.since,
        )

    async def _unsubscribe(self, params: Unsubscribe) -> Done:
        if not self._feed.leave(params.subscription_id):
            raise CommandFailed(ErrorCode.NO_SUCH_SUBSCRIPTION, "There is no such subscription on this socket.")
        self._subscriptions.discard(params.subscription_id)
        # It may have left before it had joined.
        await self._note_joined(params.subscription_id, 0)
        return Done({})

    async def _reconnect(self, command_id: int, params: Reconnect) -> Done | None:
        try:
            since = None if params.last_event_id is None else subscriptions.cursor_of(params.last_event_id)
        except ValueError as exc:
            raise CommandFailed(ErrorCode.INVALID_ARGUMENT, f"last_event_id: {exc}") from None
        try:
            wanted = {each: subscriptions.wanted_by(each) for each in params.subscriptions}
        except ValueError as exc:
            raise CommandFailed(ErrorCode.NO_SUCH_SUBSCRIPTION, str(exc)) from None
        question = Command(id=command_id, method="agent.getTree", params={"run_id": params.run_id})
        tree = (await in_command_thread(perform_now, self._tenant, self._thread_id, question)).result["tree"]
        restored = {"restored": True, "current_namespaces": _namespaces(tree)}
        if not wanted:
            return Done(restored | {"missed_events": 0})
        for each in wanted:
            await self._note_joined(each, 0)
        waiting = Restored(command_id, set(wanted), lambda shown: restored | {"missed_events": shown})
        self._join(waiting, wanted, since)
        return None

    def _join(self, waiting: Restored, wanted: dict[str, Subscription], since: int | None) -> None:
        _demand_few(len(self._subscriptions | wanted.keys()))
        self._subscriptions |= wanted.keys()
        self._unanswered |= dict.fromkeys(wanted, waiting)
        self._feed.join_together({name: each.selection for name, each in wanted.items()}, since)

    async def _answer_long_replays(self) -> None:
        """JavaScript's SDK does not come back any more when it is cut before its subscription is answered."""
        for name, waiting in list(self._unanswered.items()):
            if waiting.may_be_early and waiting.is_long():
                del self._unanswered[name]
                await self.send(
                    text_data=to_json(success(waiting.command_id, Done({"subscription_id": name}))).decode()
                )

    async def _note_joined(self, subscription_id: str, shown: int) -> None:
        waiting = self._unanswered.pop(subscription_id, None)
        if waiting is None:
            return
        waiting.joined(subscription_id, shown)
        if not waiting.waits_for:
            await self.send(text_data=to_json(waiting.answer).decode())


def _counted_by(tenant: Tenant) -> UUID | None:
    return tenant.credential.id if tenant.credential else None


def _count(tenant: Tenant, difference: int) -> None:
    counted_by = _counted_by(tenant)
    _sockets[counted_by] += difference
    if not _sockets[counted_by]:
        del _sockets[counted_by]


def _demand_few(number: int) -> None:
    if number > settings.SOCKET_MAX_SUBSCRIPTIONS:
        reason = f"A socket has at most {settings.SOCKET_MAX_SUBSCRIPTIONS} subscriptions."
        raise CommandFailed(ErrorCode.INVALID_ARGUMENT, reason)


def _namespaces(tree: Json) -> list[Json]:
    """The places of a tree with their statuses, parents first."""
    found = [tree]
    for node in found:
        found += node.get("children", ())
    return [{"namespace": node["namespace"], "status": node["status"]} for node in found]
