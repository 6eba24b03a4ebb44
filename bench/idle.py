"""The case `idle_streams`: what a stream costs the server while nothing happens on it."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from typing import Any

from bench.cases import Metrics
from bench.client import Api, Unexpected, check
from bench.process import Usage, raise_file_limit, usage

#: Files that the process which measures needs besides its streams, with room to spare.
_OTHER_FILES = 200
#: How many streams are being opened at any one time; more would only wait in the listening socket's queue.
_OPENING = 50
#: Seconds that cancelled runs have to end their streams.
_CLOSING_SECONDS = 20
#: Each step of the slow graph, in seconds: long enough that no event comes while it is measured, and if the runs can
#: not be cancelled they end by themselves.
_SILENCE_SECONDS = 300


async def idle_streams(
    api: Api, pid: int | None = None, streams: int = 2000, runs: int = 100, hold: float = 6.0
) -> Metrics:
    """Open streams on runs that wait, hold them all for `hold` seconds, and see how the server has grown meanwhile.

    One in twenty is opened before the server is first looked at, so that what it needs only once does not count.
    Without the server's process id nothing is known of its growth. `lost` streams were refused or have ended.
    """
    streams = min(streams, raise_file_limit() - _OTHER_FILES)
    first = max(1, streams // 20)
    waiting: list[str] = []
    readers = _Readers(api, waiting)
    try:
        for _ in range(min(runs, streams)):
            waiting.append(await _start(api))
        await _all_taken(api, waiting)
        await readers.open(first)
        await asyncio.sleep(hold / 3)
        before = pid and usage(pid)
        started = time.perf_counter()
        await readers.open(streams - first)
        opened = time.perf_counter() - started
        await asyncio.sleep(hold)
        after = pid and usage(pid)
        lost = readers.lost()
    finally:
        await asyncio.gather(*(api.post(f"{run}/cancel", {}) for run in waiting), return_exceptions=True)
        await readers.close()
    metrics: Metrics = {"streams": streams - lost, "lost": lost, "open_seconds": opened}
    if before and after:
        metrics |= _growth(before, after, streams - first)
    return metrics


def _growth(before: Usage, after: Usage, streams: int) -> Metrics:
    return {
        "kb_per_stream": (after.rss_bytes - before.rss_bytes) / 1024 / max(1, streams),
        "threads": after.threads - before.threads,
        "sqlite_fds": after.sqlite_fds - before.sqlite_fds,
        "rss_mb": after.rss_bytes / 1024 / 1024,
    }


async def _start(api: Api) -> str:
    """Start a run that waits on a thread of its own; answers its path."""
    thread = await api.thread()
    body: dict[str, Any] = {
        "assistant_id": "slow",
        "input": {},
        "config": {"configurable": {"sleep": _SILENCE_SECONDS}},
    }
    run = await api.post(f"/threads/{thread}/runs", body)
    return f"/threads/{thread}/runs/{run['run_id']}"


async def _all_taken(api: Api, runs: Iterable[str], patience: float = 10.0) -> None:
    """Wait until none is pending; a server that takes only some at a time is not waited for longer than `patience`."""
    end = time.monotonic() + patience
    for run in runs:
        while time.monotonic() < end and (await api.get(run))["status"] == "pending":
            await asyncio.sleep(0.05)


class _Readers:
    """Streams of these runs, each run's in its turn. They are read and not looked at, each by a task of its own."""

    def __init__(self, api: Api, runs: Sequence[str]) -> None:
        self._api = api
        self._runs = runs
        self._tasks: list[asyncio.Task[None]] = []
        self._opening = asyncio.Semaphore(_OPENING)

    async def open(self, count: int) -> None:
        """Open so many more; returns when the server has answered or refused each."""
        answered = [asyncio.Event() for _ in range(count)]
        for event in answered:
            run = self._runs[len(self._tasks) % len(self._runs)]
            self._tasks.append(asyncio.create_task(self._read(f"{run}/stream?stream_mode=values", event)))
        for event in answered:
            await event.wait()

    def lost(self) -> int:
        """How many are not open any more. Raises what happened to the first of them if no other is left."""
        ended = [task for task in self._tasks if task.done()]
        if len(ended) == len(self._tasks):
            ended[0].result()
            raise Unexpected("every stream ended at once")
        return len(ended)

    async def close(self) -> None:
        if not self._tasks:
            return
        _, still_open = await asyncio.wait(self._tasks, timeout=_CLOSING_SECONDS)
        for task in still_open:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _read(self, path: str, answered: asyncio.Event) -> None:
        try:
            async with AsyncExitStack() as stack:
                async with self._opening:
                    response = await stack.enter_async_context(self._api.request("GET", path))
                answered.set()
                await check(response)
                async for _ in response.content.iter_any():
                    pass
        finally:
            answered.set()
