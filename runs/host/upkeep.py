"""The upkeep of all runs and threads: what one process at a time has to do once a second, whichever it is."""

import logging
import time
from collections.abc import Awaitable, Callable, Collection

from django.utils import timezone

from accounts.tickets import sweep_tickets
from runs import calls, lifecycle
from runs.database import in_database, in_lease_thread
from runs.host import chores, crons, lifetimes
from runs.host.pool import Pool
from runs.langgraph_json import StoreSpec
from runs.lifecycle.deliveries import prune_deliveries

logger = logging.getLogger(__name__)

#: The status of a refusal that asking again does not change.
_NEVER = 422


class Upkeep:
    def __init__(
        self, pool: Pool, renew_leases: Callable[[], Awaitable[None]], busy_threads: Callable[[], Collection[str]]
    ) -> None:
        self._pool = pool
        self._renew_leases = renew_leases
        self._busy_threads = busy_threads
        #: A lease can not be renewed while the database is away: for how long after that none counts as ended.
        self.grace_seconds = 0.0
        self._reached_since = time.monotonic()
        self.sweep_seconds = 60 * StoreSpec().sweep_interval
        self._swept_at = time.monotonic()

    def database_failed(self) -> None:
        """The database did not answer just now."""
        self._reached_since = time.monotonic()

    async def tick(self) -> None:
        """Do what is due, each a bounded piece. May be late, and may be done by two at once."""
        # After a machine has slept, its own leases look expired too.
        await self._renew_leases()
        await in_database(chores.end_stuck_writers)
        if time.monotonic() - self._reached_since >= self.grace_seconds:
            await in_lease_thread(lifecycle.reap)
        await in_database(crons.fire_due, timezone.now())
        await in_database(chores.expire_temporary_threads)
        await in_database(chores.prune_events)
        await self._end_lifetimes()
        await in_database(chores.forget_keys)
        await in_database(prune_deliveries)
        await in_database(sweep_tickets)
        await self._purge()
        await self._sweep()

    async def _sweep(self) -> None:
        """Delete the items of the store whose lifetime has ended, now and then."""
        if time.monotonic() - self._swept_at < self.sweep_seconds:
            return
        self._swept_at = time.monotonic()
        try:
            await self._pool.call("sweep_items", {})
        except (calls.NoEngine, TimeoutError):
            return
        except calls.CallRefused as exc:
            logger.error("the items whose lifetime has ended can not be deleted: %s", exc)

    async def _end_lifetimes(self) -> None:
        """Delete threads that nothing has changed for so long, or all but their latest states."""
        for thread in await in_database(lifetimes.due_threads):
            if thread.ttl_strategy != "keep_latest":
                await in_database(lifetimes.delete_due, thread)
            elif (position := await in_database(lifetimes.turn_of_due, thread)) is not None:
                try:
                    await self._pool.call("keep_latest", {"thread_id": thread.pk, "position": position})
                except (calls.NoEngine, TimeoutError):
                    return
                except calls.CallRefused as exc:
                    logger.warning("thread %s keeps all its states: %s", thread.pk, exc.detail)
                    if exc.status != _NEVER:
                        continue
                await in_database(lifetimes.lived, thread)

    async def _purge(self) -> None:
        """Delete the checkpoints of deleted threads, except where an attempt may still be writing some."""
        for thread_id in await in_database(chores.purges):
            if thread_id in self._busy_threads():
                continue
            try:
                await self._pool.call("purge", {"thread_id": thread_id})
            except (calls.NoEngine, TimeoutError):
                return
            except calls.CallRefused as exc:
                logger.error("the checkpoints of thread %s can not be deleted: %s", thread_id, exc)
                continue
            await in_database(chores.purged, thread_id)
