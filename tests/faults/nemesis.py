"""Breaking things, one at a time, and mending them again."""

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg

from tests.e2e.server import Server
from tests.faults import shapes
from tests.faults.history import History
from tests.faults.shapes import Cluster, System

Break = Callable[["Nemesis"], Awaitable[None]]


class Nemesis:
    """Breaks a system at random moments; between two faults it lets the system be for a while."""

    def __init__(self, system: System, history: History, chance: random.Random, pauses: tuple[float, float]) -> None:
        self._system: Any = system
        self._history = history
        self._chance = chance
        self._pauses = pauses
        #: What did not end well when it was asked to.
        self.bad_exits: list[str] = []

    async def work(self, faults: list[str], over: asyncio.Event) -> None:
        """Break what these groups name until it is over. What was broken last is mended before this returns."""
        kinds = [one for group in faults for one in self.groups().get(group, [])]
        # Each kind comes up before one comes up again, so that a short time shows many.
        queue: list[Break] = []
        while kinds:
            if await _within(over, self._chance.uniform(*self._pauses)):
                return
            queue = queue or self._chance.sample(kinds, len(kinds))
            await queue.pop()(self)

    def groups(self) -> dict[str, list[Break]]:
        """The kinds of faults that this shape knows, by group."""
        if isinstance(self._system, Cluster):
            return {
                "kill": [Nemesis.kill_worker, Nemesis.kill_web, Nemesis.kill_engine, Nemesis.kill_spawner],
                "stop": [Nemesis.freeze_worker],
                "restart": [Nemesis.restart_all],
                "redis": [Nemesis.stop_redis, Nemesis.flush_redis, Nemesis.pause_redis],
                "postgres": [Nemesis.restart_postgres, Nemesis.end_connections],
                "proxy": [Nemesis.cut_connections, Nemesis.delay_connections],
            }
        return {
            "kill": [Nemesis.kill_worker, Nemesis.kill_engine, Nemesis.kill_spawner],
            "stop": [Nemesis.freeze_worker, Nemesis.freeze_engine],
            "restart": [Nemesis.restart_all],
        }

    # Processes of the system. On one machine the only web process is the only worker.

    async def kill_worker(self) -> None:
        await self._kill(self._chance.choice(self._system.workers), "kill worker")

    async def kill_web(self) -> None:
        await self._kill(self._chance.choice(self._system.web), "kill web")

    async def _kill(self, server: Server, kind: str) -> None:
        fault = self._history.broken(kind, str(server.pid), server.family())
        server.kill()
        await asyncio.sleep(self._chance.uniform(0, 2))
        await shapes.start([server])
        self._history.mended(fault)

    async def kill_engine(self) -> None:
        """Or what is in its place: a process at the lower end of the family."""
        self._kill_one(self._chance.choice(self._system.workers).lowest(), "kill engine")

    async def kill_spawner(self) -> None:
        server = self._chance.choice(self._system.workers)
        self._kill_one(server.family() - {server.pid} - server.lowest(), "kill spawner", also=server.family())

    def _kill_one(self, pids: set[int], kind: str, also: set[int] | None = None) -> None:
        if pids:
            pid = self._chance.choice(sorted(pids))
            fault = self._history.broken(kind, str(pid), {pid} | (also or set()))
            shapes.send(pid, signal.SIGKILL)
            self._history.mended(fault)

    async def freeze_worker(self) -> None:
        """All of its processes, for longer than a lease or for a moment."""
        server = self._chance.choice(self._system.workers)
        await self._freeze(server.family(), "freeze worker")

    async def freeze_engine(self) -> None:
        pids = sorted(self._chance.choice(self._system.workers).lowest())
        if pids:
            await self._freeze({self._chance.choice(pids)}, "freeze engine")

    async def _freeze(self, pids: set[int], kind: str) -> None:
        fault = self._history.broken(kind, " ".join(map(str, sorted(pids))))
        with shapes.frozen(pids):
            await asyncio.sleep(self._chance.choice([1.0, 5.0, 8.0]))
        self._history.mended(fault)

    async def restart_all(self) -> None:
        """One by one, each when the one before it is ready again."""
        for server in self._system.processes():
            fault = self._history.broken("restart", " ".join(server.words))
            self.bad_exits += await shapes.stop([server])
            await shapes.start([server])
            self._history.mended(fault)

    # What a cluster also stands on.

    async def stop_redis(self) -> None:
        await self._while("stop redis", self._system.redis.stop, self._system.redis.start)

    async def pause_redis(self) -> None:
        redis = self._system.redis
        await self._while("pause redis", lambda: redis.signal(signal.SIGSTOP), lambda: redis.signal(signal.SIGCONT))

    async def flush_redis(self) -> None:
        fault = self._history.broken("flush redis", "")
        await asyncio.to_thread(self._system.redis.flush)
        self._history.mended(fault)

    async def restart_postgres(self) -> None:
        await self._while("restart postgres", self._system.postgres.halt, self._system.postgres.resume)

    async def end_connections(self) -> None:
        fault = self._history.broken("end connections", "postgres")
        with psycopg.connect(self._system.postgres.url) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
        self._history.mended(fault)

    async def _while(self, kind: str, begin: Callable[[], Any], end: Callable[[], Any]) -> None:
        fault = self._history.broken(kind, "")
        await asyncio.to_thread(begin)
        await asyncio.sleep(self._chance.uniform(0.5, 5))
        await asyncio.to_thread(end)
        self._history.mended(fault)

    # The network.

    async def cut_connections(self) -> None:
        fault = self._history.broken("cut", "")
        fault.victim = f"{self._system.proxy.cut_all()} connections"
        self._history.mended(fault)

    async def delay_connections(self) -> None:
        fault = self._history.broken("delay", "")
        self._system.proxy.delay = 0.3
        await asyncio.sleep(self._chance.uniform(1, 4))
        self._system.proxy.delay = 0.0
        self._history.mended(fault)


async def _within(event: asyncio.Event, seconds: float) -> bool:
    """Whether it happens within so many seconds."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True
