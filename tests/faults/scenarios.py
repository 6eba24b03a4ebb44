"""Other things to do between start and rest than random operations under random faults."""

import asyncio
import contextlib
import signal
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import orjson
from langgraph_sdk import get_client

from tests.e2e.ledger import Ledger
from tests.faults import shapes
from tests.faults.evidence import Evidence
from tests.faults.history import Frame, History, Reading
from tests.faults.load import Common
from tests.faults.rig import Work
from tests.faults.shapes import Cluster, System
from tests.faults.watchers import TRANSPORTS, Watcher

_PAUSE = 0.1
#: Seconds by which the engines of a frozen worker wake up before the rest of it.
_HOST_SLEEPS_LONGER = 1.0
#: Far more than anything takes that comes at all.
_PATIENCE = 240.0


@dataclass(frozen=True)
class Rolling:
    """Clients with the official SDK stream long runs, while all processes are restarted one by one.

    Others watch runs of their own by the Agent Streaming Protocol, half of them on each of its transports. None may
    fail; what each has collected is what the run's stream holds.
    """

    clients: int = 200
    watchers: int = 100
    steps: int = 20
    delay: float = 2.0

    async def __call__(self, system: System, history: History, common: Common, evidence: Evidence) -> None:
        ledger = Ledger(common.ledger)
        before = _latest(ledger).keys()
        plan = {"steps": self.steps, "delay": self.delay, "ledger": str(common.ledger)}
        with warnings.catch_warnings():
            # The SDK says that it reconnects.
            warnings.simplefilter("ignore")
            streaming = [
                asyncio.create_task(_stream_with_sdk(system, history, common, number, plan))
                for number in range(self.clients)
            ]
            streaming += [
                asyncio.create_task(watcher.watch())
                for watcher in await _start_watchers(system, history, common, self.watchers, plan)
            ]
            await _until(lambda: len(_latest(ledger).keys() - before) >= self.clients + self.watchers)
            for server in system.processes():
                fault = history.broken("restart", " ".join(server.words))
                evidence.bad_exits += await shapes.stop([server])
                await shapes.start([server])
                history.mended(fault)
            _, stuck = await asyncio.wait(streaming, timeout=_PATIENCE)
            evidence.stuck_clients = len(stuck)
            for task in stuck:
                task.cancel()
            await asyncio.gather(*streaming, return_exceptions=True)


async def _stream_with_sdk(system: System, history: History, common: Common, number: int, plan: dict[str, Any]) -> None:
    thread_id = f"rolling-{number}"
    reading = Reading(f"SDK client {number}", thread_id)
    history.readings.append(reading)
    try:
        async with get_client(url=system.url, api_key=system.key) as client:
            await client.threads.create(thread_id=thread_id)
            common.known.append((thread_id, ""))
            op = history.invoke(reading.client, "stream", thread_id)
            async for part in client.runs.stream(thread_id, "stress", input=plan, stream_mode=["values", "updates"]):
                reading.frames.append(_frame(part))
                if part.event == "metadata":
                    op.run_id = reading.run_id = part.data["run_id"]
                reading.ended = part.event == "end"
            history.answered(op, 200)
    # Whatever the SDK raises is what its user would see.
    except Exception as exc:
        reading.failed = repr(exc)
    if not (reading.ended or reading.failed):
        reading.failed = "the SDK took the stream for complete"


async def _start_watchers(
    system: System, history: History, common: Common, count: int, plan: dict[str, Any]
) -> list[Watcher]:
    """Clients of the protocol whose runs are started."""
    watchers = []
    for number in range(count):
        transport = TRANSPORTS[number % 2]
        reading = Reading(f"{transport} client {number}", str(uuid4()))
        history.watches.append(reading)
        watchers.append(Watcher(system.url, system.key, transport, reading))
        await watchers[-1].start(plan, history)
        common.known.append((reading.thread_id, reading.run_id))
    return watchers


def _frame(part: Any) -> Frame:
    """The frame that a part of the SDK was made of."""
    data = orjson.dumps(part.data)
    return Frame(
        int(part.id), part.event, b"event: %b\r\ndata: %b\r\nid: %b" % (part.event.encode(), data, part.id.encode())
    )


@dataclass(frozen=True)
class Frozen:
    """A process that runs graphs sleeps beyond its leases, others take its runs over, and it wakes up again.

    `in_transaction`: it falls asleep in the middle of a write, with locks in hand; only of a cluster.
    """

    runs: int = 6
    steps: int = 10
    in_transaction: bool = False

    async def __call__(self, system: System, history: History, common: Common, evidence: Evidence) -> None:
        ledger = Ledger(common.ledger)
        await self._create_runs(system, history, common)
        await _until(lambda: len({line["run_id"] for line in ledger.lines()}) == self.runs)
        pids, engines = _family_of_most(system, ledger)
        with contextlib.ExitStack() as sleep:
            await self._fall_asleep(system, pids, sleep)
            fault = history.broken("freeze worker", " ".join(map(str, sorted(pids))))
            torn = {run_id for run_id, line in _latest(ledger).items() if line["pid"] in pids}
            # They are with others now.
            await _until(lambda: not torn & {run for run, line in _latest(ledger).items() if line["pid"] in pids})
            # The engines wake up first: nobody tells them yet that their runs are not theirs any more.
            for pid in engines:
                shapes.send(pid, signal.SIGCONT)
            await asyncio.sleep(_HOST_SLEEPS_LONGER)
        history.mended(fault)

    async def _create_runs(self, system: System, history: History, common: Common) -> None:
        plan = {"steps": self.steps, "delay": 0.6, "ledger": str(common.ledger)}
        speech = {"tokens": 20, "token_delay": 0.02}
        async with get_client(url=system.url, api_key=system.key) as client:
            for number in range(self.runs):
                thread_id = f"frozen-{number}"
                op = history.invoke("SDK", "create", thread_id)
                run = await client.runs.create(  # type: ignore[call-overload]
                    thread_id,
                    "stress",
                    input={**plan, **speech} if number % 3 else plan,
                    stream_mode=["values", "messages-tuple"],
                    if_not_exists="create",
                    durability="sync" if number % 2 else "async",
                )
                op.run_id = run["run_id"]
                history.answered(op, 200)
                common.known.append((thread_id, op.run_id))

    async def _fall_asleep(self, system: System, pids: set[int], sleep: contextlib.ExitStack) -> None:
        """Freeze these processes until `sleep` is over."""
        while True:
            with contextlib.ExitStack() as nap:
                nap.enter_context(shapes.frozen(pids))
                await asyncio.sleep(_PAUSE)
                if not self.in_transaction or (isinstance(system, Cluster) and system.transactions()):
                    sleep.push(nap.pop_all())
                    return
            await asyncio.sleep(_PAUSE / 7)


@dataclass(frozen=True)
class InTurn:
    """Several works, one after the other, on one system."""

    works: Sequence[Work]

    async def __call__(self, system: System, history: History, common: Common, evidence: Evidence) -> None:
        for work in self.works:
            await work(system, history, common, evidence)


def _latest(ledger: Ledger) -> dict[str, dict[str, Any]]:
    """The last line of each run."""
    return {line["run_id"]: line for line in ledger.lines()}


def _family_of_most(system: System, ledger: Ledger) -> tuple[set[int], set[int]]:
    """The worker that runs most of the runs with all below it, and its engines; on one machine the engine alone."""
    pids = [line["pid"] for line in _latest(ledger).values()]
    busiest = max(set(pids), key=pids.count)
    [server] = [server for server in system.workers if busiest in server.family()]
    return (server.family(), server.lowest()) if len(system.workers) > 1 else ({busiest}, {busiest})


async def _until(look: Any) -> None:
    end = time.monotonic() + _PATIENCE
    while not look():
        if time.monotonic() > end:
            raise TimeoutError("what the scenario waits for did not come")
        await asyncio.sleep(_PAUSE)


#: None: random operations and random faults.
SCENARIOS: dict[str, Work | None] = {
    "storm": None,
    "rolling": Rolling(),
    "frozen": Frozen(steps=20),
    "frozen-in-transaction": Frozen(steps=40, in_transaction=True),
}
#: Those that need a cluster.
CLUSTER_ONLY = frozenset({"frozen-in-transaction"})
