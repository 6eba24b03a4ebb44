"""The host: claims runs for its engines, renews their leases, and sees that limits and cancellations are obeyed."""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import procrastinate.exceptions
from django.conf import settings
from django.db import Error

from runs import calls, lifecycle, news
from runs.database import in_database_at_last, in_lease_thread, in_lease_thread_at_last
from runs.engine import pipe
from runs.fences import lower_fences
from runs.host import chores
from runs.host.clock import keep_time
from runs.host.courier import Courier, PublicNetwork
from runs.host.engine import Engine
from runs.host.limits import POLICE_SECONDS, Held, Key, Limits
from runs.host.pool import Pool
from runs.host.sender import Sender
from runs.host.upkeep import Upkeep
from runs.langgraph_json import read_config
from runs.lifecycle import Attempt
from runs.lifecycle.deliveries import hand_back_orphans
from runs.log import current_hub
from runs.models import Run
from runs.postgres import is_transient
from runs.records import Chunk
from runs.signals import cancel_requested, deliveries_due, runs_pending, threads_deleted
from runs.states import CancelAction, RunStatus

logger = logging.getLogger(__name__)

_TICK_SECONDS = 1.0
#: How long a host that stops tries to hand its runs back.
_FAREWELL_SECONDS = 5.0
#: How many engines may run for one run alone at a time.
_ENGINES_ALONE = 2


class Host:
    """One for each process that has engines; lives on that process's event loop."""

    def __init__(self) -> None:
        # Unique for each start: a new process is never taken for the one that died.
        self.name = f"{socket.gethostname()[:64]}:{os.getpid()}:{secrets.token_hex(4)}"
        self._pool = Pool(self._on_message, self._on_engine_end)
        self._held: dict[Key, Held] = {}
        self._limits = Limits(self._pool, self._held, self._spawn)
        self._upkeep = Upkeep(
            self._pool, self._check_leases, lambda: {held.attempt.thread_id for held in self._held.values()}
        )
        self._config = read_config(settings.LANGGRAPH_CONFIG)
        self._sender = Sender(Courier(self._config.webhooks, PublicNetwork()), lambda: self._due.set())
        self._tasks: set[asyncio.Task[Any]] = set()
        self._pending = asyncio.Event()
        self._cancels = asyncio.Event()
        self._deleted = asyncio.Event()
        self._due = asyncio.Event()
        self._idle = asyncio.Event()
        self._draining = False
        #: Held while runs are claimed and handed out.
        self._claiming = asyncio.Lock()
        #: Last attempts that wait for an engine of their own, and how many such engines there may be.
        self._waiting: dict[Key, Attempt] = {}
        self._alone = asyncio.Semaphore(_ENGINES_ALONE)

    # Life.

    async def start(self, *, alone: bool, runs: bool = True) -> None:
        """Begin to work. `alone`: no other host works on this database, so every running run is an orphan.

        Without `runs` it only answers questions about state, for a server whose runs are executed by workers.
        """
        self._loop = asyncio.get_running_loop()
        self._is_alone, self._runs = alone, runs
        self._upkeep.grace_seconds = 0.0 if alone else settings.LEASE_SECONDS
        self._upkeep.sweep_seconds = 60 * self._config.store.sweep_interval
        await in_lease_thread(
            chores.register_graphs, dict.fromkeys(self._config.graphs, ""), complete=alone, tell_errors=runs
        )
        if alone:
            await in_lease_thread(lower_fences, settings.CHECKPOINTS_PATH)
            await in_lease_thread(_release_orphans)
            await in_lease_thread(hand_back_orphans)
        self._connect()
        await current_hub().start()
        calls.install(self._pool.call)
        self._pool.start(run_engines=settings.ENGINE_PROCESSES if runs else 0)
        self._spawn(news.listen())
        self._spawn(self._forever(self._limits.watch_engines, None, POLICE_SECONDS))
        if not runs:
            return
        self._spawn(self._forever(self._dispatch, self._pending, _TICK_SECONDS))
        self._spawn(self._forever(self._check_leases, self._cancels, settings.HEARTBEAT_SECONDS))
        self._spawn(self._forever(self._limits.enforce, None, POLICE_SECONDS))
        self._spawn(self._forever(self._sender.send_due, self._due, _TICK_SECONDS))
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
        self._draining = self._sender.draining = True
        await self._until_idle(seconds)
        for held in list(self._held.values()):
            self._limits.stop(held, "drain")
        await self._until_idle(settings.CANCEL_GRACE)

    async def stop(self) -> None:
        """End the engines; what they still held is handed back."""
        self._draining = self._sender.draining = True
        with contextlib.suppress(TimeoutError):
            # What is being claimed at this moment is handed back too.
            async with asyncio.timeout(_FAREWELL_SECONDS), self._claiming:
                pass
        left = [held.key for held in self._held.values() if not held.settled] + list(self._waiting)
        self._held.clear()
        self._waiting.clear()
        calls.install(None)
        for task in self._tasks:
            task.cancel()
        await self._pool.stop()
        try:
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await in_lease_thread(lifecycle.release, left, crashed=False)
                await self._sender.stop()
        except (Error, TimeoutError) as exc:
            logger.warning("the runs of this host go on when their leases have ended: %r", exc)

    def _connect(self) -> None:
        """Be woken by what this process commits. Signals come in the thread that committed."""
        wakes = {
            runs_pending: self._pending,
            cancel_requested: self._cancels,
            threads_deleted: self._deleted,
            deliveries_due: self._due,
        }
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
            except Exception as exc:  # whatever it was, a host that gave one of its duties up would fail its runs
                self._on_failure(work.__name__, exc)
                await asyncio.sleep(_TICK_SECONDS)
                continue
            try:
                async with asyncio.timeout(seconds):
                    await wake.wait()
            except TimeoutError:
                pass
            wake.clear()

    def _on_failure(self, duty: str, failure: Exception) -> None:
        if is_transient(failure) or isinstance(failure, procrastinate.exceptions.ConnectorException):
            self._upkeep.database_failed()
            logger.warning("the host's %s waits for the database: %s", duty, failure)
        else:
            logger.error("the host's %s failed", duty, exc_info=failure)

    # Dispatch.

    async def _dispatch(self) -> None:
        while not self._draining and (engine := self._pool.with_room()):
            room = settings.ENGINE_CONCURRENCY - len(engine.held)
            async with self._claiming:
                claimed = await self._claim(engine, room)
            if claimed < min(room, lifecycle.CLAIM_BATCH):
                return

    async def _claim(self, engine: Engine, room: int) -> int:
        """Claim runs and hand them out; answers how many."""
        graphs = None if self._is_alone else [graph_id for graph_id, error in engine.graphs.items() if not error]
        attempts = await in_lease_thread(lifecycle.claim, self.name, room, graphs)
        for attempt in attempts:
            if attempt.crashes and attempt.crashes + 1 >= settings.MAX_ATTEMPTS:
                self._waiting[attempt.run_id, attempt.claim] = attempt
                self._spawn(self._hand_alone(attempt))
            else:
                self._hand(attempt, engine)
        return len(attempts)

    def _hand(self, attempt: Attempt, engine: Engine) -> None:
        if engine.gone:
            # It ended after the claim was asked for; nobody else will give the run back.
            self._spawn(in_lease_thread(lifecycle.release, [(attempt.run_id, attempt.claim)], crashed=False))
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
                await in_lease_thread(lifecycle.release, [key], crashed=True)
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
            case "ended":
                key = uuid.UUID(message.fields["run_id"]), uuid.UUID(message.fields["claim"])
                if held := self._held.get(key):
                    held.obeyed = True
            case "done":
                key = uuid.UUID(message.fields["run_id"]), uuid.UUID(message.fields["claim"])
                self._on_done(key, message.fields["ended"])
            case "due":
                self._due.set()
            case "hello":
                self._spawn(
                    in_database_at_last(
                        chores.register_graphs, engine.graphs, complete=self._is_alone, tell_errors=self._runs
                    )
                )
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
        await in_lease_thread(lifecycle.release, [held.key], crashed=False)
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
        for held in lost:
            await self._limits.settle(held)
        left = [held.key for held in lost if not held.settled]
        await in_lease_thread_at_last(lifecycle.release, left, crashed=not engine.killed)
        self._pending.set()

    # Leases, limits, cancellations.

    async def _check_leases(self) -> None:
        """Renew the leases; stop what was cancelled, and what is not this host's any more."""
        claims = [held.key for held in self._held.values() if not held.settled] + list(self._waiting)
        kept = await in_lease_thread(lifecycle.heartbeat, claims)
        for key in [key for key in self._waiting if key in claims and key not in kept]:
            del self._waiting[key]
        for key in claims:
            held = self._held.get(key)
            if held and key not in kept:
                self._limits.stop(held, "lost")
            elif held and kept[key]:
                self._limits.stop(held, "rollback" if kept[key] == CancelAction.ROLLBACK else "cancel")


def _release_orphans() -> None:
    """Give up every run that is running: whoever ran it is gone."""
    running = Run.objects.filter(status=RunStatus.RUNNING)
    lifecycle.release(list(running.values_list("run_id", "claim")), crashed=True)
