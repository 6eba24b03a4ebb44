"""The engines of a host: started, replaced when they end, and asked about state."""

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from django.conf import settings

from runs.calls import CallRefused, NoEngine
from runs.engine import pipe
from runs.engine.pipe import Duty
from runs.host.engine import Engine, Spawner

logger = logging.getLogger(__name__)

_ANSWER_SECONDS = 30.0
#: The pause before an engine that ended before it was ready is replaced; it doubles up to the second figure.
_PAUSE_SECONDS = (0.2, 10.0)


class Pool:
    """ENGINE_PROCESSES engines for runs and one for questions about state."""

    def __init__(
        self, on_message: Callable[[Engine, pipe.Message], None], on_end: Callable[[Engine], Awaitable[None]]
    ) -> None:
        self._on_message = on_message
        self._on_end = on_end
        self._spawner = Spawner()
        self._engines: set[Engine] = set()
        self._keepers: set[asyncio.Task[None]] = set()
        self._answers: dict[int, asyncio.Future[bytes]] = {}
        self._call_ids = itertools.count(1)
        self._closing = False

    def start(self, *, run_engines: int) -> None:
        self._duties: set[Duty] = {"runs", "state"} if run_engines else {"state"}
        for _ in range(run_engines):
            self._keep(self._always("runs"))
        self._keep(self._always("state"))

    def engines(self, duty: Duty) -> list[Engine]:
        """Those that are alive and not one run's alone."""
        return [engine for engine in self._engines if engine.duty == duty and not engine.solo]

    def is_ready(self) -> bool:
        """Whether there is an engine of each duty that it keeps."""
        ready = {engine.duty for engine in self._engines if engine.ready.is_set() and not engine.gone}
        return ready >= self._duties

    def alive(self) -> list[Engine]:
        return list(self._engines)

    def with_room(self) -> Engine | None:
        """The engine to give the next runs to: the emptiest."""
        ready = [engine for engine in self.engines("runs") if engine.ready.is_set() and not engine.gone]
        best = min(ready, key=lambda engine: len(engine.held), default=None)
        return best if best and len(best.held) < settings.ENGINE_CONCURRENCY else None

    async def solo(self) -> Engine:
        """A ready engine for one run alone; it is to be told to `stop` afterwards. Raises OSError."""
        ready: asyncio.Future[Engine] = asyncio.get_running_loop().create_future()
        self._keep(self._once("runs", ready))
        return await ready

    async def call(self, method: str, params: dict[str, Any]) -> bytes:
        """Have the state engine answer. Raises CallRefused and NoEngine."""
        async with asyncio.timeout(_ANSWER_SECONDS):
            engine = await self._state_engine()
            call_id = next(self._call_ids)
            answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            self._answers[call_id] = answer
            engine.calls.add(call_id)
            try:
                engine.send("call", call_id=call_id, method=method, params=params)
                return await answer
            finally:
                engine.calls.discard(call_id)
                self._answers.pop(call_id, None)

    async def stop(self) -> None:
        """End all engines, whatever they do."""
        self._closing = True
        for engine in self._engines:
            engine.send("stop")
        if self._keepers:
            await asyncio.wait(self._keepers, timeout=2)
        for engine in self._engines:
            engine.kill()
        self._spawner.kill()
        for task in self._keepers:
            task.cancel()

    async def _state_engine(self) -> Engine:
        while True:
            for engine in self.engines("state"):
                await engine.ready.wait()
                if not engine.gone:
                    return engine
            await asyncio.sleep(0.05)

    def _keep(self, keeper: Any) -> None:
        task = asyncio.get_running_loop().create_task(keeper)
        self._keepers.add(task)
        task.add_done_callback(self._keepers.discard)

    async def _always(self, duty: Duty) -> None:
        pause, longest = _PAUSE_SECONDS
        while not self._closing:
            was_ready = False
            try:
                was_ready = await self._live(await self._spawner.engine(duty))
            except OSError as exc:
                logger.warning("no engine could be started: %s", exc)
            if was_ready:
                pause = _PAUSE_SECONDS[0]
            elif not self._closing:
                await asyncio.sleep(pause)
                pause = min(pause * 2, longest)

    async def _once(self, duty: Duty, ready: "asyncio.Future[Engine]") -> None:
        try:
            engine = await self._spawner.engine(duty)
        except OSError as exc:
            ready.set_exception(exc)
            return
        engine.solo = True
        life = asyncio.create_task(self._live(engine))
        await engine.ready.wait()
        if engine.gone:
            ready.set_exception(ConnectionError("the engine ended at once"))
        else:
            ready.set_result(engine)
        await life

    async def _live(self, engine: Engine) -> bool:
        """The life of one engine, to its end. Answers whether it ever was ready."""
        self._engines.add(engine)
        was_ready = False

        def on_message(engine: Engine, message: pipe.Message) -> None:
            nonlocal was_ready
            was_ready = was_ready or message.kind == "hello"
            if message.kind == "answer":
                self._on_answer(message)
            else:
                self._on_message(engine, message)

        try:
            await engine.listen(on_message)
        finally:
            self._engines.discard(engine)
            for call_id in engine.calls:
                if not self._answers[call_id].done():
                    self._answers[call_id].set_exception(NoEngine())
        if not self._closing:
            logger.warning("engine %s (%s) ended", engine.pid, engine.duty)
        await self._on_end(engine)
        return was_ready

    def _on_answer(self, message: pipe.Message) -> None:
        future = self._answers.get(message.fields["call_id"])
        if future is None or future.done():
            return
        if message.fields["status"] == 200:
            future.set_result(message.payload)
        elif message.fields["status"] == 503:
            future.set_exception(NoEngine())
        else:
            future.set_exception(CallRefused(message.fields["status"], message.fields["detail"]))
