"""The events of a thread for the subscriptions of one connection: what both transports of the protocol deliver."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from functools import partial
from typing import NamedTuple

from django.conf import settings
from django.db import InterfaceError, OperationalError

from accounts.tenancy import Tenant
from runs.api.access import AccessLost, Reader, current_watch
from runs.api.parts import Streams, shown
from runs.database import in_database
from runs.log import Follower, StreamCut, current_hub, pages, read_visible_after
from runs.log.hub import POLL_SECONDS, Subscription
from runs.protocol.events import Event, EventStream, gap_event, state_event
from runs.protocol.selection import Selection
from runs.records import Chunk
from runs.services.subscriptions import Start, start_of

__all__ = ["AccessLost", "Feed", "Joined"]

logger = logging.getLogger(__name__)


class Joined(NamedTuple):
    """A subscription has what was there when it came; from now on it gets what comes."""

    subscription_id: str
    #: How many events were shown to it and those that began together with it.
    replayed: int


Part = list[Event] | Joined


class _Call(NamedTuple):
    """Subscriptions that begin together."""

    wanted: tuple[Selection, ...]
    since: int | None


class _Wish(NamedTuple):
    """A subscription that is still to begin."""

    selection: Selection
    call: _Call


class Feed:
    """One thread, followed for any number of subscriptions, which join and leave while it goes on.

    All of them are at one place of the log. One that joins is first shown what lies before that place, read from the
    rows at its reader's pace, while the others wait. Every part is small (see `parts`). As long as there is no
    subscription, or no thread that the tenant can see, nothing is taken from the log.
    """

    def __init__(self, tenant: Tenant, thread_id: str) -> None:
        self._tenant = tenant
        self._thread_id = thread_id
        self._wishes: dict[str, _Wish] = {}
        self._streams: dict[str, EventStream] = {}
        self._subscription: Subscription | None = None
        #: When the consumer was given something, by the loop's clock.
        self._spoke = 0.0

    def join(self, subscription_id: str, selection: Selection, since: int | None = None) -> None:
        """Subscribe to what comes after the event `since`, or where `start_of` says; one of the same id is replaced."""
        self.join_together({subscription_id: selection}, since)

    def join_together(self, selections: Mapping[str, Selection], since: int | None = None) -> None:
        """As `join`, of several whose reader is at one place: what was there comes once for all of them, in order.

        So a reader that is cut on the way can come back to all of them with the last event it has seen.
        """
        call = _Call(tuple(dict.fromkeys(selections.values())), since)
        for subscription_id, selection in selections.items():
            self.leave(subscription_id)
            self._wishes[subscription_id] = _Wish(selection, call)
        if self._subscription:
            self._subscription.wake()

    def leave(self, subscription_id: str) -> bool:
        """False when there is no such subscription."""
        wish, stream = self._wishes.pop(subscription_id, None), self._streams.pop(subscription_id, None)
        return bool(wish or stream)

    async def events(self) -> AsyncGenerator[Part]:
        """What the subscriptions want, in order; an empty list after each STREAM_HEARTBEAT seconds of silence.

        For one consumer. An event that several of them want comes once, unless it is replayed. A subscription to a
        thread that is not there has joined at once, and gets all of its events when it is. Raises StreamCut when the
        process drains, AccessLost when the tenant may not read on.
        """
        now = asyncio.get_running_loop().time
        hub = current_hub()
        self._spoke = now()
        async with hub.subscription(self._thread_id) as subscription:
            self._subscription = subscription
            if hub.closed:
                raise StreamCut
            with current_watch().reading(self._tenant, self._thread_id, subscription.wake) as reader:
                async with aclosing(self._parts(subscription, reader)) as parts:
                    async for part in parts:
                        if hub.closed:
                            raise StreamCut
                        reader.check()
                        if part or self._silence_left() <= 0:
                            yield part
                            self._spoke = now()

    def _silence_left(self) -> float:
        return self._spoke + settings.STREAM_HEARTBEAT - asyncio.get_running_loop().time()

    async def _parts(self, subscription: Subscription, reader: Reader) -> AsyncGenerator[Part]:
        """As `events`; an empty list comes whenever the consumer's affairs are to be looked at."""
        follower = Follower(subscription, partial(_read, self._tenant, self._thread_id, reader))
        subscription.mute()
        while True:
            while self._wishes:
                async with aclosing(self._begin(follower, reader)) as begun:
                    async for part in begun:
                        yield part
            if not self._streams:
                reader.waits = False
                subscription.mute()
            elif not reader.waits:
                async for events in self._catch_up(follower):
                    yield events
            if await subscription.wait(self._silence_left()):
                async with aclosing(shown(follower.take(), self._taking_part)) as parts:
                    async for events in parts:
                        yield events
                if reader.waits:
                    reader.wait()
            else:
                yield []

    async def _begin(self, follower: Follower, reader: Reader) -> AsyncGenerator[Part]:
        """Show those that joined first what was there, and let them take part; not one that leaves meanwhile."""
        call = next(iter(self._wishes.values())).call
        wishes = {name: wish for name, wish in self._wishes.items() if wish.call is call}
        try:
            start = await in_database(start_of, self._tenant, self._thread_id, call.wanted, call.since)
        except (OperationalError, InterfaceError) as exc:
            # As in `pages`.
            logger.debug("thread %s can not be read; trying again: %s", self._thread_id, exc)
            yield []
            await asyncio.sleep(POLL_SECONDS)
            return
        streams = {selection: EventStream(selection, start.after if start else 0) for selection in call.wanted}
        replayed = 0
        if start:
            self._find_thread(start, follower, reader)
            async with aclosing(_replay(start, partial(self._still, wishes, streams), follower)) as found:
                async for events in found:
                    yield events
                    replayed += len(events)
        elif reader.created_at:
            raise AccessLost(404)
        else:
            reader.wait()
        for name, wish in wishes.items():
            if self._wishes.get(name) is wish:
                del self._wishes[name]
                self._streams[name] = self._one_of(streams[wish.selection], follower)
                yield Joined(name, replayed)

    def _still(self, wishes: Mapping[str, _Wish], streams: Mapping[Selection, EventStream]) -> list[EventStream]:
        """The streams of those that have not left."""
        wanted = dict.fromkeys(wish.selection for name, wish in wishes.items() if self._wishes.get(name) is wish)
        return [streams[selection] for selection in wanted]

    def _one_of(self, stream: EventStream, follower: Follower) -> EventStream:
        """The stream that shows the same from now on, if there is one: equal selections are rendered once."""
        cursor = follower.subscription.cursor
        for other in self._streams.values():
            if other.selection == stream.selection and max(other.after, stream.after) <= cursor:
                return other
        return stream

    def _taking_part(self) -> list[EventStream]:
        return list(dict.fromkeys(self._streams.values()))

    def _find_thread(self, start: Start, follower: Follower, reader: Reader) -> None:
        """Take from the log from now on, if that has not begun. Raises AccessLost when it is another thread by now."""
        reader.found(start.created_at)
        if not self._streams:
            follower.begin(start.last_seq)
        elif follower.subscription.muted:
            follower.begin(0)

    async def _catch_up(self, follower: Follower) -> AsyncGenerator[list[Event]]:
        """Until all is taken from the rows, or a subscription wants to begin."""
        subscription = follower.subscription
        if subscription.muted:
            # The thread that was waited for is there.
            follower.begin(0)
        if not subscription.behind:
            return
        async with aclosing(follower.catch_up()) as found:
            async for chunks in found:
                async with aclosing(shown(chunks, self._taking_part)) as parts:
                    async for part in parts:
                        yield part
                if self._wishes or not self._streams:
                    subscription.fall_behind()
                    return


def _read(tenant: Tenant, thread_id: str, reader: Reader, after: int, limit: int) -> list[Chunk]:
    """As `read_after`, of the thread that the reader reads."""
    return read_visible_after(tenant, thread_id, reader.created_at, after, limit) if reader.created_at else []


async def _replay(start: Start, streams: Streams, follower: Follower) -> AsyncGenerator[list[Event]]:
    """What is kept up to where the others are, page by page."""
    first = [gap_event(start.oldest)] if start.gap else []
    if start.state:
        first.append(state_event(start.after, *start.state))
    if first:
        yield first
    end = follower.subscription.cursor
    if start.read_after >= end:
        return
    async with aclosing(pages(follower.read, start.read_after)) as found:
        async for chunks in found:
            async with aclosing(shown((chunk for chunk in chunks if chunk.last_seq <= end), streams)) as parts:
                async for part in parts:
                    yield part
            if not streams() or (chunks and chunks[-1].last_seq >= end):
                return
