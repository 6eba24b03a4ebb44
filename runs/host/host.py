"""The host: claims runs for its engines, renews their leases, and sees that limits and cancellations are obeyed."""

import asyncio
import logging
import os
import secrets
import socket
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import orjson
from django.conf import settings
from django.db import Error

from runs import calls, lifecycle, wire
from runs.database import in_database
from runs.engine import pipe
from runs.fences import lower_fences
from runs.host import chores
from runs.host.clock import keep_time
from runs.host.engine import Engine
from runs.host.pool import Pool
from runs.host.upkeep import Upkeep
from runs.langgraph_json import read_config
from runs.lifecycle import Attempt, Outcome, Write
from runs.log import current_hub
from runs.models import Run
from runs.records import Chunk
from runs.signals import cancel_requested, runs_pending, threads_deleted
from runs.states import RunStatus

logger = logging.getLogger(__name__)

Key = tuple[uuid.UUID, uuid.UUID]

_TICK_SECONDS = 1.0
_POLICE_SECONDS = 0.5
#: How many engines may run for one run alone at a time.
_ENGINES_ALONE = 2
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
    #: The host ended the run itself; only its remains are left in the engine.
    settled: bool = False

    @property
    def key(self) -> Key:
        return self.attempt.run_id, self.attempt.claim


class Host:
    """One for each process that has engines; lives on that process's event loop."""

    def __init__(self) -> None:
        # Unique for each start: a new process is never taken for the one that died.
        self.name = f"{socket.gethostname()[:64]}:{os.getpid()}:{secrets.token_hex(4)}"
        self._pool = Pool(self._on_message, self._on_engine_end)
        self._held: dict[Key, Held] = {}
        self._upkeep = Upkeep(
            self._pool, self._check_leases, lambda: {held.attempt.thread_id for held in self._held.values()}
        )
        self._tasks: set[asyncio.Task[Any]] = set()
        self._pending = asyncio.Event()
        self._cancels = asyncio.Event()
        self._deleted = asyncio.Event()
        self._idle = asyncio.Event()
        self._draining = False
        #: Last attempts that wait for an engine of their own, and how many such engines there may be.
        self._waiting: dict[Key, Attempt] = {}
        self._alone = asyncio.Semaphore(_ENGINES_ALONE)

    # Life.

    async def start(self, *, alone: bool, runs: bool = True) -> None:
        """Begin to work. `alone`: no other host works on this database, so every running run is an orphan.

        Without `runs` it only answers questions about state, for a server whose runs are executed by workers.
        """
        self._loop = asyncio.get_running_loop()
        graph_ids = read_config(settings.LANGGRAPH_CONFIG).graphs
        await in_database(chores.register_graphs, dict.fromkeys(graph_ids, ""))
        if alone:
            await in_database(lower_fences, settings.CHECKPOINTS_PATH)
            await in_database(_release_orphans)
        self._connect()
        await current_hub().start()
        calls.install(self._pool.call)
        self._pool.start(run_engines=settings.ENGINE_PROCESSES if runs else 0)
        self._spawn(wire.listen())
        self._spawn(self._forever(self._watch_engines, None, _POLICE_SECONDS))
        if not runs:
            return
        self._spawn(self._forever(self._dispatch, self._pending, _TICK_SECONDS))
        self._spawn(self._forever(self._check_leases, self._cancels, settings.HEARTBEAT_SECONDS))
        self._spawn(self._forever(self._police, None, _POLICE_SECONDS))
        if alone:
            self._spawn(self._forever(self._upkeep.tick, self._deleted, _TICK_SECONDS))
        else:
            self._spawn(self._forever(self._keep_time, None, _TICK_SECONDS))

    @property
    def ready(self) -> bool:
        """Whether it takes runs, or answers questions if that is all it does."""
        return not self._draining and self._pool.is_ready()

    async def _keep_time(self) -> None:
        await keep_time(self._upkeep.tick)

    async def drain(self, seconds: float) -> None:
        """Take no more runs, give the running ones so long, hand the others back."""
        self._draining = True
        await self._until_idle(seconds)
        for held in list(self._held.values()):
            self._stop(held, "drain")
        await self._until_idle(settings.CANCEL_GRACE)

    async def stop(self) -> None:
        """End the engines; what they still held is handed back."""
        self._draining = True
        left = [held.key for held in self._held.values() if not held.settled] + list(self._waiting)
        self._held.clear()
        self._waiting.clear()
        calls.install(None)
        for task in self._tasks:
            task.cancel()
        await self._pool.stop()
        try:
            await in_database(lifecycle.release, left, crashed=False)
        except Error:
            logger.exception("the runs of this host go on when their leases have ended")

    def _connect(self) -> None:
        """Be woken by what this process commits. Signals come in the thread that committed."""
        wakes = {runs_pending: self._pending, cancel_requested: self._cancels, threads_deleted: self._deleted}
        for signal, event in wakes.items():
            signal.connect(lambda event=event, **_: self._wake(event), weak=False)

    def _wake(self, event: asyncio.Event) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(event.set)

    async def _until_idle(self, seconds: float) -> None:
        while self._held:
            self._idle.clear()
            began = time.monotonic()
            try:
                async with asyncio.timeout(seconds):
                    await self._idle.wait()
            except TimeoutError:
                return
            seconds -= time.monotonic() - began

    def _spawn(self, coroutine: Any) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forever(self, work: Callable[[], Awaitable[None]], wake: asyncio.Event | None, seconds: float) -> None:
        """Do `work` at each wake and at least every so many seconds; an absent database only delays it."""
        wake = wake or asyncio.Event()
        while True:
            try:
                await work()
            except Exception:  # whatever it was, a host that gave one of its duties up would fail its runs
                logger.exception("the host's %s failed", work.__name__)
                await asyncio.sleep(_TICK_SECONDS)
            try:
                async with asyncio.timeout(seconds):
                    await wake.wait()
            except TimeoutError:
                pass
            wake.clear()

    # Dispatch.

    async def _dispatch(self) -> None:
        while not self._draining and (engine := self._pool.with_room()):
            room = settings.ENGINE_CONCURRENCY - len(engine.held)
            attempts = await in_database(lifecycle.claim, self.name, room)
            for attempt in attempts:
                if attempt.crashes and attempt.crashes + 1 >= settings.MAX_ATTEMPTS:
                    self._waiting[attempt.run_id, attempt.claim] = attempt
                    self._spawn(self._hand_alone(attempt))
                else:
                    self._hand(attempt, engine)
            if len(attempts) < min(room, lifecycle.CLAIM_BATCH):
                return

    def _hand(self, attempt: Attempt, engine: Engine) -> None:
        if engine.gone:
            # It ended after the claim was asked for; nobody else will give the run back.
            self._spawn(in_database(lifecycle.release, [(attempt.run_id, attempt.claim)], crashed=False))
            return
        held = Held(attempt, engine, deadline=time.monotonic() + settings.RUN_TIMEOUT)
        self._held[held.key] = held
        engine.held.add(held.key)
        engine.send("start", attempt=attempt)

    async def _hand_alone(self, attempt: Attempt) -> None:
        """The last attempt of a run that took its engines with it, or was in bad company: an engine for it alone."""
        key = attempt.run_id, attempt.claim
        async with self._alone:
            try:
                engine = await self._pool.solo()
            except OSError:
                self._waiting.pop(key, None)
                await in_database(lifecycle.release, [key], crashed=True)
                return
            if self._waiting.pop(key, None):
                self._hand(attempt, engine)
                await engine.ended.wait()
            else:
                engine.send("stop")

    # What engines say.

    def _on_message(self, engine: Engine, message: pipe.Message) -> None:
        match message.kind:
            case "chunk":
                self._spawn(current_hub().ring([Chunk._make([*message.fields["at"], message.payload])]))
            case "done":
                key = uuid.UUID(message.fields["run_id"]), uuid.UUID(message.fields["claim"])
                self._on_done(key, message.fields["ended"])
            case "hello":
                self._spawn(in_database(chores.register_graphs, engine.graphs))
                self._pending.set()

    def _on_done(self, key: Key, ended: str) -> None:
        held = self._held.get(key)
        if held is None:
            return
        if held.engine.solo:
            held.engine.send("stop")
        if ended == "stopped":
            self._spawn(self._hand_back(held))
            return
        self._let_go(held)
        self._pending.set()

    async def _hand_back(self, held: Held) -> None:
        await in_database(lifecycle.release, [held.key], crashed=False)
        self._let_go(held)

    def _let_go(self, held: Held) -> None:
        self._held.pop(held.key, None)
        held.engine.held.discard(held.key)
        if held.reason == "lost":
            # Its thread may have been deleted, and waits to be purged until nobody writes to it.
            self._deleted.set()
        if not self._held:
            self._idle.set()

    async def _on_engine_end(self, engine: Engine) -> None:
        """Its runs go on at once from their checkpoints: the host saw it end and need not wait for a lease."""
        lost = [held for held in self._held.values() if held.engine is engine]
        for held in lost:
            self._let_go(held)
        try:
            for held in lost:
                await self._settle(held)
            left = [held.key for held in lost if not held.settled]
            await in_database(lifecycle.release, left, crashed=not engine.killed)
        except Error:
            logger.exception("the runs of engine %s go on when their leases have ended", engine.pid)
        self._pending.set()

    # Leases, limits, cancellations.

    async def _check_leases(self) -> None:
        """Renew the leases; stop what was cancelled, and what is not this host's any more."""
        claims = [held.key for held in self._held.values() if not held.settled] + list(self._waiting)
        kept = await in_database(lifecycle.heartbeat, claims)
        for key in [key for key in self._waiting if key in claims and key not in kept]:
            del self._waiting[key]
        for key in claims:
            held = self._held.get(key)
            if held and key not in kept:
                self._stop(held, "lost")
            elif held and kept[key]:
                self._stop(held, "cancel")

    def _stop(self, held: Held, reason: str) -> None:
        if held.reason in ("", "drain"):
            held.reason = reason
            held.disobeyed_since = time.monotonic()
            held.engine.send("cancel", run_id=held.attempt.run_id, claim=held.attempt.claim, reason=reason)

    async def _watch_engines(self) -> None:
        """Apart from everything that waits for the database: a silent engine may hold it."""
        for engine in self._pool.alive():
            # Added up, not measured: a host that was stopped itself blames no engine.
            engine.silent_for += _POLICE_SECONDS
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

    async def _police(self) -> None:
        now = time.monotonic()
        for held in list(self._held.values()):
            stalled_by = held.engine.stalled_by
            if stalled_by and stalled_by != held.attempt.run_id:
                # Another run keeps it from going on, and from obeying.
                held.deadline += _POLICE_SECONDS
                if held.reason and now - held.disobeyed_since > settings.CANCEL_GRACE:
                    await self._settle(held)
            elif not held.reason and now > held.deadline:
                self._stop(held, "timeout")
            elif held.reason and now - held.disobeyed_since > settings.CANCEL_GRACE:
                logger.warning("run %s does not stop: its engine is replaced", held.attempt.run_id)
                # Before anything is written: the engine may hold the database.
                held.engine.kill()
                await self._settle(held)

    async def _settle(self, held: Held) -> None:
        """End a run that its engine does not end. Whatever it still does is not written: its claim is gone."""
        if held.settled or held.reason not in ("cancel", "timeout"):
            return
        if held.reason == "cancel":
            outcome = Outcome(RunStatus.INTERRUPTED)
        else:
            outcome = Outcome(RunStatus.TIMEOUT, error=_TIMED_OUT)
        attempt = held.attempt
        await in_database(lifecycle.write, [Write(attempt.run_id, attempt.claim, attempt.thread_id, outcome=outcome)])
        held.settled = True
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


def _release_orphans() -> None:
    """Give up every run that is running: whoever ran it is gone."""
    running = Run.objects.filter(status=RunStatus.RUNNING)
    lifecycle.release(list(running.values_list("run_id", "claim")), crashed=True)
