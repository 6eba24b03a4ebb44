"""What tests ask a server for, and how they read its streams."""

from typing import Any
from uuid import uuid4

import httpx
import orjson

from tests.e2e.waiting import eventually

ENDED = {"success", "error", "interrupted", "timeout"}


def said(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def new_thread() -> str:
    """The id of a thread that the first run on it makes."""
    return str(uuid4())


def frames(stream: str) -> list[tuple[str, Any]]:
    """The event and the data of each frame; fails where data is not JSON. Comments are left out."""
    blocks = [block.split("\r\n") for block in stream.split("\r\n\r\n") if block and not block.startswith(":")]
    fields = [dict(line.split(": ", 1) for line in block) for block in blocks]
    return [(each["event"], orjson.loads(each["data"])) for each in fields]


async def background(http: httpx.AsyncClient, thread_id: str, graph: str, given: Any, **options: Any) -> str:
    """Start a run that nobody reads; answers its id."""
    body = {"assistant_id": graph, "input": given, **options}
    response = await http.post(f"/threads/{thread_id}/runs", json=body)
    assert response.status_code == 200, response.text
    return str(response.json()["run_id"])


async def status_of(http: httpx.AsyncClient, thread_id: str, run_id: str) -> str:
    return str((await http.get(f"/threads/{thread_id}/runs/{run_id}")).json()["status"])


async def end_of(http: httpx.AsyncClient, thread_id: str, run_id: str) -> str:
    """How a run ended, once it has. Nobody reads it meanwhile."""

    async def end() -> str:
        status = await status_of(http, thread_id, run_id)
        return status if status in ENDED else ""

    return await eventually(end)
