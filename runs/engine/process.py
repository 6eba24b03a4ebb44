"""The engine process: forked by the spawner, it lives as long as its pipe to the host.

It has one of two duties. A `runs` engine executes attempts, many on one event loop. A `state` engine answers questions
about threads; no node runs in it, so it answers while a graph spins.
"""

import asyncio
import contextlib
import gc
import os
import socket
import sys
import threading
import uuid
from collections.abc import Coroutine
from typing import Any

from django.conf import settings

from runs.engine import pipe
from runs.engine.desk import Desk, Refused
from runs.engine.execution import Ended, Execution, Reason
from runs.engine.graphs import Registry
from runs.engine.keeping import load_keeping
from runs.engine.node_threads import NodeThreads
from runs.engine.pipe import Duty, ignore_stop_signals
from runs.engine.storage import FencedSaver, Keeping, open_saver, site_database
from runs.engine.watchdog import Watchdog
from runs.engine.writer import Journal, Pen
from runs.langgraph_json import IndexSpec, read_config
from runs.lifecycle import Attempt
from runs.records import Chunk
from runs.signals import chunks_committed, deliveries_due
from runs.tally import Tally

#: Without these an engine would seem to work.
OWN_THREADS = frozenset({"pen", "checkpoint-pen", "pipe", "watchdog"})

#: Threads for nodes that are plain functions.
_NODE_THREADS = 64


def run_engine(connection: socket.socket, duty: Duty) -> None:
    """Be an engine until the host is gone. Never returns."""
    # The host decides when an engine ends: a Ctrl-C or a stop of the service reaches every process of the group.
    ignore_stop_signals()
    threading.excepthook = _die_with_own_threads
    sys.setswitchinterval(settings.THREAD_SWITCH_SECONDS)
    config = read_config(settings.LANGGRAPH_CONFIG)
    registry = Registry.load(config, model=settings.DEERFLOW_MODEL)
    # What is imported now stays: the collector need not look at it during runs.
    gc.collect()
    gc.freeze()
    # What a graph forks or starts must not hold the host's pipe: the host sees by it that the engine is gone.
    connection.set_inheritable(False)
    os.register_at_fork(after_in_child=connection.close)
    _run(_Engine(connection, registry, config.store.index, load_keeping(config)).main(duty))
    _leave()


def _run(main: Coroutine[Any, Any, None]) -> None:
    """Run `main` to its end. A node that exits leaves the loop by its exception, which is its own run's affair."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    task = loop.create_task(main)
    while not task.done():
        with contextlib.suppress(SystemExit, KeyboardInterrupt):
            loop.run_until_complete(task)
    task.result()


def _die_with_own_threads(failure: threading.ExceptHookArgs) -> None:
    """An engine without one of its own threads is of no use: it ends, and its runs go on in the next one."""
    threading.__excepthook__(failure)
    if failure.thread and failure.thread.name in OWN_THREADS:
        os._exit(1)


def _leave() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


class _Engine:
    def __init__(
        self, connection: socket.socket, registry: Registry, index: IndexSpec | None, keeping: Keeping
    ) -> None:
        self._connection = connection
        self._registry = registry
        self._database = site_database(index)
        self._keeping = keeping
        self._sending = threading.Lock()
        self._executions: dict[tuple[uuid.UUID, uuid.UUID], Execution] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = asyncio.Event()

    async def main(self, duty: Duty) -> None:
        self._loop = asyncio.get_running_loop()
        self._threads = NodeThreads(_NODE_THREADS)
        self._loop.set_default_executor(self._threads)
        Watchdog(self._loop, self._alive).start()
        self._pen = Pen(self._loop)
        self._pen.start()
        chunks_committed.connect(self._on_commit, weak=False)
        deliveries_due.connect(self._on_due, weak=False)
        async with open_saver(self._database, self._keeping) as saver:
            self._saver: FencedSaver = saver
            self._desk = Desk(self._registry, saver)
            self._send("hello", duty=duty, pid=os.getpid(), graphs=self._graphs())
            threading.Thread(target=self._listen, name="pipe", daemon=True).start()
            await self._stopped.wait()
        self._pen.stop()

    def _graphs(self) -> dict[str, str]:
        """Why each graph can not run; empty when it can."""
        return {graph_id: "" for graph_id in self._registry.graph_ids} | self._registry.errors

    # Threads of the engine: the pipe's reader, the watchdog and the pen.

    def _listen(self) -> None:
        while (message := pipe.receive(self._connection)) is not None:
            self._loop.call_soon_threadsafe(self._on_message, message)
        # The host is gone. Its runs are taken over from their last checkpoint; what is not written must stay unwritten.
        os._exit(1)

    def _send(self, kind: str, payload: bytes = b"", **fields: Any) -> None:
        data = pipe.pack(kind, payload, **fields)
        try:
            with self._sending:
                self._connection.sendall(data)
        except OSError:
            os._exit(1)

    def _alive(self, stalled_for: float, stalled_by: uuid.UUID | None) -> None:
        running = {run_id for run_id, _ in list(self._executions)}
        abandoned = self._threads.abandoned(running)
        self._send("alive", stalled_for=stalled_for, stalled_by=stalled_by, used_up=abandoned > _NODE_THREADS // 2)

    def _on_commit(self, chunks: list[Chunk], **_: object) -> None:
        for chunk in chunks:
            self._send("chunk", chunk.payload, at=chunk[:4])

    def _on_due(self, **_: object) -> None:
        self._send("due")

    # The event loop.

    def _on_message(self, message: pipe.Message) -> None:
        match message.kind:
            case "start":
                self._start(_attempt(message.fields["attempt"]))
            case "cancel":
                self._cancel(message.fields)
            case "call":
                self._spawn(self._answer(**message.fields))
            case "stop":
                self._stopped.set()

    def _spawn(self, coroutine: Any) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _start(self, attempt: Attempt) -> None:
        journal = Journal(self._pen, attempt.run_id, attempt.claim, attempt.thread_id)
        execution = Execution(attempt, journal, self._registry, self._saver)
        execution.on_ended = lambda: self._on_ended(execution)
        self._executions[attempt.run_id, attempt.claim] = execution
        self._spawn(self._execute(execution))

    def _on_ended(self, execution: Execution) -> None:
        if execution.reason:
            # The host watches whether it obeys.
            self._send("ended", run_id=execution.attempt.run_id, claim=execution.attempt.claim)

    async def _execute(self, execution: Execution) -> None:
        attempt = execution.attempt
        ended = Ended.LOST
        try:
            ended = await execution.run()
        finally:
            del self._executions[attempt.run_id, attempt.claim]
            self._saver.forget(execution.writer)
            self._send("done", run_id=attempt.run_id, claim=attempt.claim, ended=ended)

    def _cancel(self, fields: dict[str, Any]) -> None:
        key = (uuid.UUID(fields["run_id"]), uuid.UUID(fields["claim"]))
        if execution := self._executions.get(key):
            execution.stop(Reason(fields["reason"]))

    async def _answer(self, call_id: int, method: str, params: dict[str, Any]) -> None:
        try:
            payload = await self._desk.answer(method, params)
        except Refused as exc:
            self._send("answer", call_id=call_id, status=exc.status, detail=exc.detail)
        else:
            self._send("answer", payload, call_id=call_id, status=200, detail="")


def _attempt(fields: dict[str, Any]) -> Attempt:
    """The attempt of a `start` message."""
    owner_id, tally = fields["owner_id"], fields["tally"]
    return Attempt(
        **{
            **fields,
            "run_id": uuid.UUID(fields["run_id"]),
            "claim": uuid.UUID(fields["claim"]),
            "organization_id": uuid.UUID(fields["organization_id"]),
            "owner_id": owner_id and uuid.UUID(owner_id),
            "tally": tally and Tally(**tally),
        }
    )
