"""What a host holds, and how it sees that limits and cancellations are obeyed."""

import logging
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import orjson
from django.conf import settings

from runs import calls, lifecycle
from runs.database import in_database, in_lease_thread_at_last
from runs.host.engine import Engine
from runs.host.pool import Pool
from runs.lifecycle import Attempt, Outcome, Write
from runs.states import RunStatus

logger = logging.getLogger(__name__)

Key = tuple[uuid.UUID, uuid.UUID]

POLICE_SECONDS = 0.5
#: How long an event loop may be held up by something that no run answers for.
_STUCK_SECONDS = 5.0
#: Engines speak twice a second, even while a graph spins. One that is silent for half a lease, and at least for so
#: long, is stopped or stuck for good.
_LEAST_SILENCE_SECONDS = 5.0
_TIMED_OUT = {"error": "timeout", "message": "The run took longer than it may."}


@dataclass(slots=True, eq=False)
class Held:
    """An attempt that this host has claimed."""

    attempt: Attempt
    engine: Engine
    #: When its time is up, by the monotonic clock.
    deadline: float
    #: Why the engine was told to stop it, and since when it has not obeyed.
    reason: str = ""
    disobeyed_since: float = 0.0
    #: Its graph has ended, and its outcome is about to be written.
    obeyed: bool = False
    #: The host ended the run itself; only its remains are left in the engine.
    settled: bool = False

    @property
    def key(self) -> Key:
        return self.attempt.run_id, self.attempt.claim


class Limits:
    """Stops attempts, and ends those, and the engines, that do not stop."""

    def __init__(self, pool: Pool, held: dict[Key, Held], spawn: Callable[[Coroutine[Any, Any, Any]], None]) -> None:
        self._pool = pool
        self._held = held
        self._spawn = spawn

    def stop(self, held: Held, reason: str) -> None:
        if held.reason in ("", "drain"):
            held.reason = reason
            held.disobeyed_since = time.monotonic()
            held.engine.send("cancel", run_id=held.attempt.run_id, claim=held.attempt.claim, reason=reason)

    async def watch_engines(self) -> None:
        """Apart from everything that waits for the database: a silent engine may hold it."""
        for engine in self._pool.alive():
            # Added up, not measured: a host that was stopped itself blames no engine.
            engine.silent_for += POLICE_SECONDS
            if engine.ready.is_set() and engine.silent_for > max(settings.LEASE_SECONDS / 2, _LEAST_SILENCE_SECONDS):
                logger.warning("engine %s says nothing any more: it is replaced", engine.pid)
                engine.kill(lost=True)
            elif settings.ENGINE_MEMORY_MB and engine.memory_mb() > settings.ENGINE_MEMORY_MB:
                logger.warning("engine %s takes more than ENGINE_MEMORY_MB: it is replaced", engine.pid)
                engine.kill(lost=True)
            elif engine.used_up or (engine.stalled_for > _STUCK_SECONDS and not self._holds(engine, engine.stalled_by)):
                logger.warning("engine %s is held up by what no run of it answers for: it is replaced", engine.pid)
                engine.kill()

    def _holds(self, engine: Engine, run_id: uuid.UUID | None) -> bool:
        """Whether the run is one of the engine's, whose limits will end it."""
        return any(key[0] == run_id and not self._held[key].settled for key in engine.held if key in self._held)

    async def enforce(self) -> None:
        now = time.monotonic()
        for held in list(self._held.values()):
            stalled_by = held.engine.stalled_by
            if held.obeyed:
                # Its graph has ended; what it wrote last waits for the database.
                continue
            if stalled_by and stalled_by != held.attempt.run_id:
                # Another run keeps it from going on, and from obeying.
                held.deadline += POLICE_SECONDS
                if held.reason and now - held.disobeyed_since > settings.CANCEL_GRACE:
                    self._spawn(self.settle(held))
            elif not held.reason and now > held.deadline:
                self.stop(held, "timeout")
            elif held.reason and now - held.disobeyed_since > settings.CANCEL_GRACE:
                logger.warning("run %s does not stop: its engine is replaced", held.attempt.run_id)
                # Before anything is written: the engine may hold the database.
                held.engine.kill()
                self._spawn(self.settle(held))

    async def settle(self, held: Held) -> None:
        """End a run that its engine does not end. Whatever it still does is not written: its claim is gone."""
        if held.settled or held.reason not in ("cancel", "rollback", "timeout"):
            return
        if held.reason == "rollback":
            # What it has done is undone by the next attempt, which does nothing else.
            await in_lease_thread_at_last(lifecycle.release, [held.key], crashed=False)
            held.settled = True
            return
        if held.reason == "cancel":
            outcome = Outcome(RunStatus.INTERRUPTED)
        else:
            outcome = Outcome(RunStatus.TIMEOUT, error=_TIMED_OUT)
        attempt = held.attempt
        write = Write(attempt.run_id, attempt.claim, attempt.thread_id, outcome=outcome)
        [ended] = await in_lease_thread_at_last(lifecycle.write, [write])
        held.settled = True
        if ended:
            self._spawn(self._refresh_values(attempt))

    async def _refresh_values(self, attempt: Attempt) -> None:
        """Bring the thread's row up to its last checkpoint, which the engine could not report any more."""
        user_id = str(attempt.owner_id) if attempt.owner_id else None
        about = {
            "thread_id": attempt.thread_id,
            "graph_id": attempt.graph_id,
            "organization_id": str(attempt.organization_id),
            "user_id": user_id,
        }
        try:
            answer = await self._pool.call("state", {**about, "checkpoint": {}, "subgraphs": False})
        except (calls.NoEngine, calls.CallRefused, TimeoutError):
            return
        await in_database(lifecycle.values_found, attempt.thread_id, attempt.position, orjson.loads(answer)["values"])
