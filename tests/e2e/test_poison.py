"""Values that are hard to store, emitted by graphs: the same becomes of them on each database, and the thread lives."""

import concurrent.futures
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.server import Server
from tests.e2e.servers import BRISK, MakeServer
from tests.services import Postgres, Redis

#: As in `tests/graphs/poison.py`.
VALUES = ("nan", "nul", "surrogate", "bigint", "deep", "lock", "constructor")
PLACES = (
    *("state", "list", "key", "message", "stream", "item", "item key"),
    *("question", "error", "command", "send"),
)
EVERYTHING = ["values", "updates", "messages", "messages-tuple", "custom", "debug", "tasks", "checkpoints", "events"]
_PASSING = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}|\b[0-9a-f]{32}\b|\d{4}-\d\d-\d\dT[0-9:.]+(Z|\+00:00)|0x[0-9a-f]+"
)


@pytest.fixture(scope="module")
def clients(
    make_module_server: MakeServer, key: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[httpx.Client]]:
    """Of a server on SQLite, and of one on PostgreSQL."""
    postgres, redis = Postgres(), Redis()
    folder = tmp_path_factory.mktemp("poison")
    other = Server(folder / "postgres", **BRISK, DATABASE_URL=postgres.url, REDIS_URL=redis.url)
    try:
        # It migrates its database by itself.
        servers = {make_module_server().start(): key, other.start(): other.key("alice@acme.test", "acme")}
        made = [
            httpx.Client(base_url=server.url, headers={"x-api-key": key}, timeout=60) for server, key in servers.items()
        ]
        yield made
        for client in made:
            client.close()
    finally:
        other.kill()
        redis.stop()
        postgres.close()


def is_told_whole(kind: str, where: str) -> bool:
    """Whether the story of this value in this place goes on with all that can be done to a thread.

    Each value does so in some places, and in each place some do.
    """
    return (VALUES.index(kind) + PLACES.index(where)) % 3 == 0


class Story:
    """What one client asked about one thread, and what it was answered, without what differs from run to run."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self.told: list[str] = []

    def ask(self, method: str, path: str, body: Any = None, *, tell: bool = True) -> Any:
        reply = self._client.request(method, path, json=body)
        assert reply.status_code < 300, (method, path, reply.text[:500])
        found = reply.json() if reply.content.strip() else None
        if tell:
            self.told.append(f"{method} {path} {json.dumps(found, sort_keys=True)}")
        return found

    def outcome(self) -> list[str]:
        return [_PASSING.sub("*", line) for line in self.told]


def lives_through(client: httpx.Client, kind: str, where: str) -> list[str]:
    story = Story(client)
    thread_id = story.ask("POST", "/threads", {}, tell=False)["thread_id"]
    path = f"/threads/{thread_id}"
    odd = {"kind": kind, "where": where}
    run = {"assistant_id": "poison", "durability": "sync", "stream_mode": EVERYTHING}
    story.ask("POST", f"{path}/runs/wait", run | {"input": odd})
    [made] = story.ask("GET", f"{path}/runs", tell=False)
    assert made["status"] in ("success", "error")
    story.told.append(f"{made['status']} {made['error']}")
    stream = client.get(f"{path}/runs/{made['run_id']}/stream").text
    assert stream.rstrip().splitlines()[-1].startswith(("data:", "id:")) and "event: end" in stream
    story.ask("GET", path)
    story.ask("GET", f"{path}/state")
    story.ask("GET", f"{path}/history")
    story.ask("GET", f"{path}/messages")
    extract = {"odd": "values.odd", "said": "values.messages[-1]", "asked": "interrupts", "why": "error.message"}
    story.ask("POST", "/threads/search", {"ids": [thread_id], "values": {"where": where}, "extract": extract})
    story.ask("POST", "/store/items/search", {"namespace_prefix": ["poison"]})
    if is_told_whole(kind, where):
        copied = story.ask("POST", f"{path}/copy", tell=False)["thread_id"]
        story.ask("GET", f"/threads/{copied}/state")
        story.ask("POST", f"/threads/{copied}/runs/wait", run | {"input": {"kind": None}})
        story.ask("DELETE", f"/threads/{copied}", tell=False)
        story.ask("POST", "/threads/prune", {"thread_ids": [thread_id], "strategy": "keep_latest"})
    story.ask("POST", f"{path}/state", {"values": {"count": 5}, "as_node": "emit"})
    if is_told_whole(kind, where):
        story.ask("POST", f"{path}/runs", run | {"input": odd}, tell=False)
    story.ask(
        "POST", f"{path}/runs/wait", run | {"input": {"kind": None}, "multitask_strategy": "rollback"}, tell=False
    )
    state = story.ask("GET", f"{path}/state", tell=False)
    # Whether the odd run was rolled back or had ended, nothing was lost.
    assert state["values"]["count"] == 6 and state["values"]["odd"] is None
    story.ask("DELETE", path)
    for item in client.post("/store/items/search", json={"namespace_prefix": ["poison"]}).json()["items"]:
        client.request("DELETE", "/store/items", json={name: item[name] for name in ("namespace", "key")})
    return story.outcome()


@pytest.mark.parametrize("where", PLACES)
def test_the_same_becomes_of_odd_values_everywhere(clients: list[httpx.Client], where: str) -> None:
    def live(client: httpx.Client) -> dict[str, list[str]]:
        return {kind: lives_through(client, kind, where) for kind in VALUES}

    with concurrent.futures.ThreadPoolExecutor(2) as both:
        on_sqlite, on_postgres = both.map(live, clients)
    for kind in VALUES:
        assert on_sqlite[kind] == on_postgres[kind], kind
