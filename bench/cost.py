"""What one run costs a cluster: rows, bytes, commits and messages.

    .venv/bin/python -m bench.cost [--runs 100]

Starts the second shape with its services, runs some kinds of runs one after the other, and prints a table of what
PostgreSQL and Redis counted meanwhile, for each run.
"""

import argparse
import asyncio
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
import psycopg
import redis

from bench.server import Served, services, serving_on

_HELLO = {"messages": [{"role": "user", "content": "hello"}]}
#: The bodies of their requests.
KINDS: dict[str, dict[str, Any]] = {
    "echo": {"assistant_id": "echo", "input": _HELLO},
    "5 steps": {"assistant_id": "slow", "input": {"steps": [0]}, "config": {"configurable": {"sleep": 0.02}}},
    "500 tokens": {
        "assistant_id": "tokens",
        "input": _HELLO,
        "stream_mode": ["messages-tuple"],
        "config": {"configurable": {"n": 500, "delay": 0.002}},
    },
}
TABLES = (
    *("runs_thread", "runs_run", "runs_eventchunk"),
    *("checkpoints", "checkpoint_blobs", "checkpoint_writes"),
)
#: What goes on anyway, such as the tick, is counted over so many seconds of rest and taken off.
_REST_SECONDS = 5.0

Counts = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=100, help="of each kind")
    options = parser.parse_args()
    with services("postgres") as addresses, serving_on(addresses) as server:
        costs = {kind: _cost(server, addresses, kind, options.runs) for kind in KINDS}
    names = list(next(iter(costs.values())))
    print(f"{'for each run':24}" + "".join(f"{kind:>14}" for kind in costs))
    for name in names:
        print(f"{name:24}" + "".join(f"{costs[kind][name]:14,.1f}" for kind in costs))


def _cost(server: Served, addresses: Mapping[str, str], kind: str, runs: int) -> Counts:
    asyncio.run(_run(server, kind, 5))
    time.sleep(1)
    rest = _difference(addresses, lambda: time.sleep(_REST_SECONDS))
    began = time.monotonic()
    counted = _difference(addresses, lambda: asyncio.run(_run(server, kind, runs)))
    share = (time.monotonic() - began) / _REST_SECONDS
    return {name: (value - rest[name] * share) / runs for name, value in counted.items()}


def _difference(addresses: Mapping[str, str], work: Any) -> Counts:
    before = _counts(addresses)
    work()
    # PostgreSQL's processes tell what they counted once a second.
    time.sleep(1.5)
    after = _counts(addresses)
    return {name: after[name] - before[name] for name in after}


def _counts(addresses: Mapping[str, str]) -> Counts:
    counts: Counts = {}
    with psycopg.connect(addresses["DATABASE_URL"], autocommit=True) as database:
        for table in TABLES:
            counts[f"rows of {table}"] = _value(database, f"SELECT count(*) FROM {table}")
        counts["bytes of rows, indexes"] = sum(
            _value(database, f"SELECT pg_total_relation_size('{table}')") for table in TABLES
        )
        counts["bytes of log (WAL)"] = _value(database, "SELECT pg_current_wal_lsn() - '0/0'")
        counts["commits"] = _value(
            database, "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        )
        counts["flushes to disk"] = _value(
            database, "SELECT sum(fsyncs) FROM pg_stat_io WHERE object = 'wal' AND fsyncs IS NOT NULL"
        )
    with redis.Redis.from_url(addresses["REDIS_URL"]) as doorbell:
        commands: Any = doorbell.info("commandstats")
        for name in ("publish", "subscribe"):
            counts[f"Redis {name}"] = commands.get(f"cmdstat_{name}", {"calls": 0})["calls"]
    return counts


def _value(database: "psycopg.Connection[Any]", statement: Any) -> float:
    [(value,)] = database.execute(statement).fetchall()
    return float(value)


async def _run(server: Served, kind: str, runs: int) -> None:
    """Streams, one after the other, each on a new thread."""
    async with aiohttp.ClientSession(server.url, headers={"X-Api-Key": server.key}) as session:
        for _ in range(runs):
            async with session.post("/threads", json={}) as answer:
                thread_id = (await answer.json())["thread_id"]
            async with session.post(f"/threads/{thread_id}/runs/stream", json=KINDS[kind]) as answer:
                assert b"event: end" in await answer.read()


if __name__ == "__main__":
    main()
