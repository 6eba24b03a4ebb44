"""What the Agent Streaming Protocol costs, on each of its transports.

    .venv/bin/python -m bench.protocol [--shape sqlite|postgres] [--only tokens,idle] [--streams 2000]

Starts a server for each case, measures, and prints a table: the cases in rows, the transports in columns.
"""

import argparse
import asyncio
import functools
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from bench.cases import Metrics, together
from bench.client import Unexpected, open_session
from bench.process import raise_file_limit, usage
from bench.server import Served, serving
from bench.watching import TRANSPORTS, Protocol

Case = Callable[[Protocol, str, int], Awaitable[Metrics]]

#: Files that the process which measures needs besides its connections, with room to spare.
_OTHER_FILES = 200
#: How many connections are being opened at any one time.
_OPENING = 50
#: Seconds in which `slow_readers` looks at the server's memory once.
_LOOK_SECONDS = 0.1
#: Seconds for a silent run: longer than it is measured.
_SILENCE_SECONDS = 300


async def tokens(api: Protocol, transport: str, pid: int, count: int = 2000) -> Metrics:
    """One stream of a model that gives its tokens as fast as it can."""
    await _read_run(api, transport, 1, count=min(count, 50))
    seconds, events = await _read_run(api, transport, 1, count=count)
    return {"events": events, "events_per_s": events / seconds}


async def tokens_conc(api: Protocol, transport: str, pid: int, count: int = 500, streams: int = 16) -> Metrics:
    """The same for many streams at once, each of its own run; the rate of all together."""
    await _read_run(api, transport, 1, count=min(count, 50))
    started = time.perf_counter()
    read = await together(_read_run(api, transport, 1, count=count) for _ in range(streams))
    return {"events_per_s": sum(events for _, events in read) / (time.perf_counter() - started)}


async def fanout(
    api: Protocol, transport: str, pid: int, count: int = 400, readers: int = 40, delay: float = 0.003
) -> Metrics:
    """Many readers of one run, whose model takes `delay` seconds for each token; the rate of all together."""
    seconds, events = await _read_run(api, transport, readers, count=count, delay=delay)
    return {"events_per_s": events / seconds, "seconds": seconds, "ideal_seconds": count * delay}


async def idle(
    api: Protocol, transport: str, pid: int, streams: int = 2000, threads: int = 100, hold: float = 6.0
) -> Metrics:
    """Many streams on runs that are silent: what the server has grown by for each.

    One in twenty is opened before the server is first looked at, so that what it needs only once does not count.
    """
    streams = min(streams, raise_file_limit() - _OTHER_FILES)
    names = [api.thread() for _ in range(min(threads, streams))]
    runs = await together(api.start(name, "slow", sleep=_SILENCE_SECONDS) for name in names)
    first = max(1, streams // 20)
    async with AsyncExitStack() as stack:
        await _open(api, transport, names, first, stack)
        await asyncio.sleep(hold / 3)
        before = usage(pid)
        started = time.perf_counter()
        await _open(api, transport, names, streams - first, stack)
        opened = time.perf_counter() - started
        await asyncio.sleep(hold)
        after = usage(pid)
    await together(api.cancel(name, run) for name, run in zip(names, runs, strict=True))
    found: Metrics = {"streams": streams, "open_seconds": opened}
    if before and after:
        found["kb_per_stream"] = (after.rss_bytes - before.rss_bytes) / 1024 / max(1, streams - first)
        found["threads"] = after.threads - before.threads
        found["sqlite_fds"] = after.sqlite_fds - before.sqlite_fds
    return found


async def slow_readers(
    api: Protocol, transport: str, pid: int, readers: int = 200, rate: int = 100, count: int = 500, size: int = 100_000
) -> Metrics:
    """Readers that take `rate` bytes a second, while a run emits `count` times `size` bytes; and one that is quick.

    `alone`: the seconds of the same run with the quick reader only.
    """
    await _flood(api, transport, count // 10, size)
    alone = await _flood(api, transport, count, size)
    before = usage(pid)
    seconds, most, cut = await _flood_slow(api, transport, pid, readers, rate, count, size)
    found: Metrics = {"alone_seconds": alone, "seconds": seconds, "of_alone": seconds / alone, "cut": cut}
    if before and most:
        found["mb_more"] = (most - before.rss_bytes) / 1024 / 1024
    return found


CASES: dict[str, Case] = {case.__name__: case for case in (tokens, tokens_conc, fanout, idle, slow_readers)}


async def _read_run(
    api: Protocol, transport: str, readers: int, *, count: int, delay: float = 0.0
) -> tuple[float, int]:
    """Seconds from the start of a run to the end that its last reader saw, and the events of all of them."""
    thread = api.thread()
    async with _reading(api, transport, thread, readers, "messages") as reading:
        started = time.perf_counter()
        await api.start(thread, "tokens", n=count, delay=delay)
        events = await asyncio.gather(*reading)
    if min(events) < count:
        raise Unexpected(f"{min(events)} events instead of {count} or more")
    return time.perf_counter() - started, sum(events)


async def _flood(api: Protocol, transport: str, count: int, size: int) -> float:
    """Seconds that a flood takes with one reader, who gets all of it."""
    thread = api.thread()
    async with _reading(api, transport, thread, 1, "custom") as [reading]:
        started = time.perf_counter()
        await api.start(thread, "flood", n=count, size=size)
        if await reading < count:
            raise Unexpected("the quick reader has lost events")
    return time.perf_counter() - started


async def _flood_slow(
    api: Protocol, transport: str, pid: int, readers: int, rate: int, count: int, size: int
) -> tuple[float, int, int]:
    """The same with slow readers: seconds, the most memory of the server, and how many of them it cut."""
    thread, most = api.thread(), 0
    opened = [asyncio.Event() for _ in range(readers)]
    crawling = [asyncio.create_task(api.crawl(transport, thread, rate, event)) for event in opened]
    try:
        await asyncio.gather(*(event.wait() for event in opened))
        async with _reading(api, transport, thread, 1, "custom") as [reading]:
            started = time.perf_counter()
            await api.start(thread, "flood", n=count, size=size)
            while not reading.done():
                await asyncio.wait([reading], timeout=_LOOK_SECONDS)
                found = usage(pid)
                most = max(most, found.rss_bytes if found else 0)
            seconds = time.perf_counter() - started
            if reading.result() < count:
                raise Unexpected("the quick reader has lost events")
    finally:
        cut = sum(task.done() for task in crawling)
        for task in crawling:
            task.cancel()
        await asyncio.gather(*crawling, return_exceptions=True)
    return seconds, most, cut


@asynccontextmanager
async def _reading(
    api: Protocol, transport: str, thread: str, readers: int, *channels: str
) -> AsyncIterator[Sequence["asyncio.Task[int]"]]:
    """Readers of the thread's next run, all of them subscribed."""
    opened = [asyncio.Event() for _ in range(readers)]
    tasks = [asyncio.create_task(api.read_run(transport, thread, *channels, opened=event)) for event in opened]
    try:
        waiting = asyncio.gather(*(event.wait() for event in opened))
        await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        yield tasks
    finally:
        for task in tasks:
            task.cancel()


async def _open(api: Protocol, transport: str, threads: Sequence[str], count: int, stack: AsyncExitStack) -> None:
    turn = asyncio.Semaphore(_OPENING)

    async def one(number: int) -> None:
        async with turn:
            await stack.enter_async_context(api.parts(transport, threads[number % len(threads)], "values"))

    await together(one(number) for number in range(count))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--only", default=",".join(CASES), help="cases: %(default)s")
    parser.add_argument("--streams", type=int, default=2000, help="of the case idle")
    options = parser.parse_args()
    raise_file_limit()
    cases = {**CASES, "idle": functools.partial(idle, streams=options.streams)}
    print(f"{'':32}" + "".join(f"{transport:>14}" for transport in TRANSPORTS))
    for name in options.only.split(","):
        found = [_measure(options.shape, cases[name], transport) for transport in TRANSPORTS]
        print("\n".join(_rows(name, found)), flush=True)


def _measure(shape: str, case: Case, transport: str) -> Metrics:
    """The case, with a server of its own: memory that another has left free would hide what it takes."""
    with serving(shape) as server:
        try:
            return asyncio.run(_ask(server, case, transport))
        except Exception:
            print(server.said(), file=sys.stderr)
            raise


async def _ask(server: Served, case: Case, transport: str) -> Metrics:
    async with open_session({"X-Api-Key": server.key}) as session:
        return await case(Protocol(session, server.url, server.key), transport, server.pid)


def _rows(name: str, found: Sequence[Mapping[str, float]]) -> Iterable[str]:
    for metric in found[0]:
        yield f"{name + ' ' + metric:32}" + "".join(f"{metrics.get(metric, 0):14,.2f}" for metrics in found)


if __name__ == "__main__":
    main()
