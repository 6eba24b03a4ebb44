"""One trial: start a system, let clients work while it is broken, let it come to rest, look at what is left."""

import asyncio
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.ledger import Ledger
from tests.faults import shapes
from tests.faults.checks import Violation, check
from tests.faults.clients import Client
from tests.faults.crew import CONTEST, EVERYTHING, users
from tests.faults.evidence import Evidence
from tests.faults.history import Frame, History, Sample
from tests.faults.hook import ANSWERS, Hook
from tests.faults.load import Common
from tests.faults.nemesis import Nemesis
from tests.faults.shapes import Cluster, OneMachine, System, webhook_secret
from tests.faults.watchers import watch_again
from tests.receiver import receiving

SHAPES = ("one-machine", "cluster")
FAULTS = ("kill", "stop", "restart", "redis", "postgres", "proxy")

#: How many runs are read again at a time, and how often things are sampled.
_READERS = 8
_SAMPLE_SECONDS = 0.5
#: Seconds of patience for the system to come to rest; only a system that never does is cut short.
_PATIENCE = 240.0
#: Seconds of patience for the last webhook: longer than one is its sender's, however that ended.
_NEWS_PATIENCE = 100.0


@dataclass(frozen=True)
class Trial:
    """What to try; the same seed makes the same plans and the same choice of faults."""

    shape: str = "one-machine"
    seed: int = 1
    #: How long operations begin.
    seconds: float = 30.0
    #: End when so many runs were created, instead.
    runs: int | None = None
    clients: int = 6
    #: Whether clients do nothing but end, undo and repeat what they and others have begun.
    contest: bool = False
    faults: tuple[str, ...] = FAULTS
    #: Seconds between two faults, at least and at most.
    pauses: tuple[float, float] = (1.0, 4.0)
    #: Seconds that a run may take to show life after its process was killed.
    recovery_bound: float = 18.0
    #: What the receiver of webhooks may answer.
    answers: tuple[str, ...] = ANSWERS
    settings: dict[str, str] = field(default_factory=dict)


@dataclass
class Outcome:
    trial: Trial
    evidence: Evidence
    violations: list[Violation]
    #: Where the logs, the history, the ledger and the data are.
    folder: Path
    seconds: float


Work = Callable[[System, History, Common, Evidence], Awaitable[None]]


async def run(trial: Trial, work: Work | None = None) -> Outcome:
    """Try it. `work` is what happens between start and rest; by default random operations and random faults."""
    begin = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix=f"faults-{trial.shape}-{trial.seed}-"))
    history = History(folder / "history.jsonl")
    evidence = Evidence(
        ops=history.ops,
        readings=history.readings,
        watches=history.watches,
        faults=history.faults,
        samples=history.samples,
        news=history.news,
        deleted=history.deleted,
        recovery_bound=trial.recovery_bound,
    )
    hook = Hook(history, random.Random(trial.seed), trial.answers)
    common = Common(folder / "ledger", history, hook, runs_left=trial.runs)
    async with receiving(hook.answer) as receiver, _system(trial, folder) as system:
        hook.url = receiver.url
        await _observe(system, history, common, evidence, work or (lambda *args: _storm(trial, *args)))
        evidence.bad_exits += await shapes.stop(system.processes())
        evidence.leftovers = shapes.left_running(folder / "data")
        evidence.dump = system.dump()
    evidence.ledger = Ledger(common.ledger).lines()
    history.close()
    return Outcome(trial, evidence, check(evidence), folder, time.monotonic() - begin)


def _system(trial: Trial, folder: Path) -> AbstractAsyncContextManager[Any]:
    if trial.shape == "cluster":
        return Cluster(folder, random.Random(trial.seed), settings=trial.settings).running()
    return OneMachine(folder, settings=trial.settings).running()


async def _observe(system: System, history: History, common: Common, evidence: Evidence, work: Work) -> None:
    """Do the work while somebody takes samples; then wait for rest, and read all streams again."""
    observer = Client("observer", system.url, system.key, history, random.Random(0))
    over = asyncio.Event()
    sampling = asyncio.create_task(_sample(observer, system, history, common, evidence, over))
    try:
        await work(system, history, common, evidence)
        threads = sorted({op.thread_id for op in history.ops if op.thread_id} - history.deleted)
        async with asyncio.timeout(2 * _PATIENCE):
            runs = await _rest(observer, history, threads)
            evidence.rereads = await _read_all(observer, runs)
            evidence.rewatched = await watch_again(system.url, system.key, history.watches)
            await _told(common.hook, runs)
    except TimeoutError as exc:
        evidence.restless = str(exc) or "the runs do not end, or are not answered for"
    finally:
        over.set()
        await sampling
        await observer.close()


async def _storm(trial: Trial, system: System, history: History, common: Common, evidence: Evidence) -> None:
    """Random operations of several clients under random faults, until the time is up or the runs are used."""
    common.hook.secret = await asyncio.to_thread(webhook_secret, system)
    chance = random.Random(trial.seed)
    nemesis = Nemesis(system, history, random.Random(chance.getrandbits(64)), trial.pauses)
    weights = CONTEST if trial.contest else EVERYTHING
    crew = users(system.url, system.key, common, chance, trial.clients, weights)
    breaking = asyncio.create_task(nemesis.work(list(trial.faults), common.over))
    working = [asyncio.create_task(user.work()) for _, user in crew]
    try:
        await _first(common.over.wait(), None if trial.runs else trial.seconds, watching=[breaking, *working])
        common.over.set()
        await breaking
        _, stuck = await asyncio.wait(working, timeout=_PATIENCE)
        for task in stuck:
            task.cancel()
        await asyncio.gather(*(task for task in working if task not in stuck))
        evidence.stuck_clients = len(stuck)
    finally:
        evidence.bad_exits += nemesis.bad_exits
        for task in (breaking, *working):
            task.cancel()
        await asyncio.gather(breaking, *working, return_exceptions=True)
        for client, _ in crew:
            await client.close()


async def _first(wanted: Any, seconds: float | None, watching: Iterable["asyncio.Task[None]"]) -> None:
    """Wait for `wanted`, at most so long; what fails meanwhile fails here."""
    waiting = asyncio.create_task(wanted)
    try:
        done, _ = await asyncio.wait({waiting, *watching}, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        waiting.cancel()


async def _sample(
    observer: Client, system: System, history: History, common: Common, evidence: Evidence, over: asyncio.Event
) -> None:
    """Look at the runs of threads in turn, and at the connections to the database."""
    while not over.is_set():
        for thread_id in list(dict.fromkeys(thread for thread, _ in common.known[-30:])):
            answer = await observer.ask("sample", "GET", f"/threads/{thread_id}/runs?limit=100", thread_id=thread_id)
            if answer.ok:
                statuses = {found["run_id"]: found["status"] for found in answer.body}
                history.samples.append(Sample(time.time(), thread_id, statuses))
        evidence.connections = max(evidence.connections, await asyncio.to_thread(system.connections))
        await asyncio.sleep(_SAMPLE_SECONDS)


async def _rest(observer: Client, history: History, threads: list[str]) -> list[dict[str, Any]]:
    """Wait until no run of these threads is active; answers them all. A system that never rests is cut short."""
    end = time.monotonic() + _PATIENCE
    found: list[dict[str, Any]] = []
    for thread_id in threads:
        while True:
            answer = await observer.insist("rest", "GET", f"/threads/{thread_id}/runs?limit=1000", thread_id=thread_id)
            runs = answer.body if answer.ok else []
            history.samples.append(Sample(time.time(), thread_id, {one["run_id"]: one["status"] for one in runs}))
            if not any(one["status"] in ("pending", "running") for one in runs) or time.monotonic() > end:
                break
            await asyncio.sleep(_SAMPLE_SECONDS)
        found += [one for one in runs if one["status"] not in ("pending", "running")]
    return found


async def _read_all(observer: Client, runs: list[dict[str, Any]]) -> dict[str, list[Frame]]:
    """The stream of each of these ended runs, from its beginning."""
    turn = asyncio.Semaphore(_READERS)

    async def read(thread_id: str, run_id: str) -> list[Frame]:
        async with turn:
            return (await observer.read_to_end(thread_id, run_id, noted=False)).frames

    streams = await asyncio.gather(*(read(run["thread_id"], run["run_id"]) for run in runs))
    return {run["run_id"]: frames for run, frames in zip(runs, streams, strict=True)}


async def _told(hook: Hook, runs: list[dict[str, Any]]) -> None:
    """Wait until the receiver has taken the news of these runs, those that it is to be told of; not for ever."""
    hook.over()
    told = [run["run_id"] for run in runs if run["metadata"].get("told")]
    end = time.monotonic() + _NEWS_PATIENCE
    while not all(map(hook.has_accepted, told)) and time.monotonic() < end:
        await asyncio.sleep(_SAMPLE_SECONDS)
