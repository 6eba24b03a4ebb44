"""What is measured of a server. Each case's defaults are its definition: figures of other sizes do not compare.

A case takes an Api and answers its figures by name: `…_ms` and `…seconds` are durations, `…_per_s` rates.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from bench.client import Api, Unexpected

T = TypeVar("T")
Metrics = dict[str, float]
Case = Callable[[Api], Awaitable[Metrics]]

#: Seconds after which `background` reports what is not finished.
BACKGROUND_SECONDS = 120
_GREETING = {"messages": [{"role": "user", "content": "hi"}]}
_ANSWER = "echo: hi"
_ECHO = {"assistant_id": "echo", "input": _GREETING}


def percentile(values: Iterable[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


async def wait_seq(api: Api, runs: int = 60, warm: int = 5) -> Metrics:
    """One client: `runs/wait` of echo, each on a new thread."""
    seconds = [await _timed_wait(api) for _ in range(warm + runs)][warm:]
    return {"p50_ms": percentile(seconds, 0.5) * 1e3, "p95_ms": percentile(seconds, 0.95) * 1e3}


async def wait_conc(api: Api, runs: int = 240, clients: int = 16) -> Metrics:
    """The same by many clients at once; making the threads counts."""

    async def client() -> None:
        for _ in range(runs // clients):
            await _timed_wait(api)

    return {"runs_per_s": await _rate(runs // clients * clients, (client() for _ in range(clients)))}


async def stateless(api: Api, runs: int = 120, clients: int = 16) -> Metrics:
    """Many clients at once: `runs/wait` of echo without a thread."""

    async def client() -> None:
        for _ in range(runs // clients):
            _check_answer(await api.post("/runs/wait", _ECHO))

    return {"runs_per_s": await _rate(runs // clients * clients, (client() for _ in range(clients)))}


async def first_event(api: Api, runs: int = 40, warm: int = 3) -> Metrics:
    """One client: `runs/stream` of echo; to its first byte and to its end."""
    body = {**_ECHO, "stream_mode": ["values"]}
    streams = [await api.stream(f"/threads/{await api.thread()}/runs/stream", body) for _ in range(warm + runs)][warm:]
    ends = [stream.seconds for stream in streams]
    return {
        "first_p50_ms": percentile((stream.first_seconds for stream in streams), 0.5) * 1e3,
        "end_p50_ms": percentile(ends, 0.5) * 1e3,
        "end_p95_ms": percentile(ends, 0.95) * 1e3,
    }


async def tokens(api: Api, count: int = 2000) -> Metrics:
    """One stream of a model that gives its tokens as fast as it can."""
    path = f"/threads/{await api.thread()}/runs/stream"
    await api.stream(path, _counting(min(count, 50)))
    stream = await api.stream(path, _counting(count))
    _check_events(stream.events, count)
    return {
        "events": stream.events,
        "events_per_s": stream.events / stream.seconds,
        "bytes_per_event": stream.size / stream.events,
    }


async def tokens_conc(api: Api, count: int = 500, streams: int = 16) -> Metrics:
    """The same for many streams at once, each of its own run; the rate of all together."""
    threads = [await api.thread() for _ in range(streams)]
    started = time.perf_counter()
    read = await together(api.stream(f"/threads/{thread}/runs/stream", _counting(count)) for thread in threads)
    seconds = time.perf_counter() - started
    events = sum(stream.events for stream in read)
    _check_events(events, count * streams)
    return {"events_per_s": events / seconds}


async def fanout(api: Api, count: int = 400, readers: int = 40, delay: float = 0.003) -> Metrics:
    """Many readers of one run, whose model takes `delay` seconds for each token; the rate of all together."""
    thread = await api.thread()
    run = await api.post(f"/threads/{thread}/runs", {**_counting(count, delay), "stream_resumable": True})
    path = f"/threads/{thread}/runs/{run['run_id']}/stream?stream_mode=messages-tuple"
    started = time.perf_counter()
    read = await together(api.stream(path, method="GET") for _ in range(readers))
    seconds = time.perf_counter() - started
    return {
        "events_per_s": sum(stream.events for stream in read) / seconds,
        "min_events": min(stream.events for stream in read),
        "seconds": seconds,
        "ideal_seconds": count * delay,
    }


async def background(api: Api, runs: int = 200) -> Metrics:
    """Submit many background runs of echo at once, each on a thread of its own; poll until every one is done."""
    threads = [await api.thread() for _ in range(runs)]
    started = time.perf_counter()
    submitted = await together(api.post(f"/threads/{thread}/runs", _ECHO) for thread in threads)
    submit_seconds = time.perf_counter() - started
    left = {f"/threads/{thread}/runs/{run['run_id']}" for thread, run in zip(threads, submitted, strict=True)}
    while left and time.perf_counter() - started < BACKGROUND_SECONDS:
        for path in sorted(left)[:50]:
            if await _is_done(api, path):
                left.remove(path)
    return {
        "submit_per_s": runs / submit_seconds,
        "done_per_s": (runs - len(left)) / (time.perf_counter() - started),
        "unfinished": len(left),
    }


async def slow_conc(api: Api, runs: int = 100, sleep: float = 0.2) -> Metrics:
    """Many runs at once of a graph that only sleeps, five times `sleep`: how close to that does the server stay?"""
    threads = [await api.thread() for _ in range(runs)]
    body = {"assistant_id": "slow", "input": {}, "config": {"configurable": {"sleep": sleep}}}
    started = time.perf_counter()
    await together(api.post(f"/threads/{thread}/runs/wait", body) for thread in threads)
    return {"seconds": time.perf_counter() - started}


#: In the order in which they run.
CASES: dict[str, Case] = {
    case.__name__: case
    for case in (wait_seq, wait_conc, stateless, first_event, tokens, tokens_conc, fanout, background, slow_conc)
}


async def warm_up(api: Api, runs: int = 20) -> None:
    """Let the server import, connect and cache what its first requests need."""
    for _ in range(runs):
        await _timed_wait(api)


async def _timed_wait(api: Api) -> float:
    """Seconds that `runs/wait` of echo takes on a new thread; making the thread does not count."""
    thread = await api.thread()
    started = time.perf_counter()
    values = await api.post(f"/threads/{thread}/runs/wait", _ECHO)
    seconds = time.perf_counter() - started
    _check_answer(values)
    return seconds


async def together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Do all at once. If one fails, its exception is raised when the others have been ended: the next case is alone."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


async def _rate(count: int, clients: Iterable[Coroutine[Any, Any, None]]) -> float:
    """`count` for each second until all clients are done."""
    started = time.perf_counter()
    await together(clients)
    return count / (time.perf_counter() - started)


async def _is_done(api: Api, path: str) -> bool:
    run = await api.get(path)
    if run["status"] in ("pending", "running"):
        return False
    if run["status"] != "success":
        raise Unexpected(f"a run ended with status {run['status']}")
    return True


def _counting(count: int, delay: float = 0) -> dict[str, Any]:
    return {
        "assistant_id": "tokens",
        "input": _GREETING,
        "stream_mode": ["messages-tuple"],
        "config": {"configurable": {"n": count, "delay": delay}},
    }


def _check_answer(values: dict[str, Any]) -> None:
    messages: Sequence[dict[str, Any]] = values.get("messages") or [{}]
    if messages[-1].get("content") != _ANSWER:
        raise Unexpected(f"echo answered {str(values)[:300]}")


def _check_events(events: int, expected: int) -> None:
    if events < expected:
        raise Unexpected(f"{events} events instead of {expected} or more")
