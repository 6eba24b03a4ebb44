"""Every address of the LangGraph API that its SDKs call, called by them: asynchronously and not."""

import asyncio
import inspect
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import pytest
from langgraph_sdk import get_client, get_sync_client

from tests.e2e.server import Server

HELLO: Any = {"messages": [{"role": "user", "content": "hello"}]}

#: What the SDKs call, as method and path. Not among them: MCP, A2A, generative UI and the newest streaming protocol.
SDK_CALLS = """\
POST /assistants
POST /assistants/search
POST /assistants/count
GET /assistants/{id}
DELETE /assistants/{id}
PATCH /assistants/{id}
GET /assistants/{id}/graph
GET /assistants/{id}/subgraphs
GET /assistants/{id}/subgraphs/{name}
GET /assistants/{id}/schemas
POST /assistants/{id}/versions
POST /assistants/{id}/latest
POST /threads
POST /threads/search
POST /threads/count
POST /threads/prune
GET /threads/{id}/state
POST /threads/{id}/state
GET /threads/{id}/state/{id}
POST /threads/{id}/state/checkpoint
POST /threads/{id}/history
POST /threads/{id}/copy
GET /threads/{id}/stream
GET /threads/{id}
DELETE /threads/{id}
PATCH /threads/{id}
GET /threads/{id}/runs
POST /threads/{id}/runs
POST /threads/{id}/runs/crons
POST /threads/{id}/runs/stream
POST /threads/{id}/runs/wait
GET /threads/{id}/runs/{id}
DELETE /threads/{id}/runs/{id}
GET /threads/{id}/runs/{id}/join
GET /threads/{id}/runs/{id}/stream
POST /threads/{id}/runs/{id}/cancel
POST /runs/crons
POST /runs/crons/search
POST /runs/crons/count
PATCH /runs/crons/{id}
DELETE /runs/crons/{id}
POST /runs
POST /runs/stream
POST /runs/wait
POST /runs/batch
POST /runs/cancel
PUT /store/items
GET /store/items
DELETE /store/items
POST /store/items/search
POST /store/namespaces
""".splitlines()

#: What no method of the SDKs calls; reached by their own HTTP client.
OTHERS = """\
GET /threads/{id}/storage
GET /threads/{id}/history
GET /runs/crons/{id}
GET /runs/{id}/stream
GET /info
GET /ok
GET /docs
GET /openapi.json
""".splitlines()

_ID = re.compile(r"/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}(?=/|$)")


class Sdk(NamedTuple):
    client: Any
    #: Calls one of its methods and gives the result, of a stream the list of its parts.
    call: Callable[..., Any]
    http: Any
    #: The answers so far, by method and path.
    calls: Counter[str]


def noted(calls: Counter[str], response: httpx.Response) -> None:
    path = _ID.sub("/{id}", response.request.url.path)
    path = re.sub(r"(?<=/subgraphs/).+", "{name}", path)
    assert response.status_code < 400, (response.request.method, path, response.status_code)
    calls[f"{response.request.method} {path}"] += 1


async def asynchronous(url: str, key: str) -> AsyncIterator[Sdk]:
    calls: Counter[str] = Counter()

    async def note(response: httpx.Response) -> None:
        noted(calls, response)

    async def call(method: Any, *args: Any, **options: Any) -> Any:
        result = method(*args, **options)
        if inspect.isawaitable(result):
            return await result
        return [part async for part in result]

    async with get_client(url=url, api_key=key) as client:
        client.http.client.event_hooks["response"].append(note)
        yield Sdk(client, call, client.http.client.get, calls)


async def synchronous(url: str, key: str) -> AsyncIterator[Sdk]:
    calls: Counter[str] = Counter()

    async def call(method: Any, *args: Any, **options: Any) -> Any:
        def complete() -> Any:
            result = method(*args, **options)
            return list(result) if inspect.isgenerator(result) or hasattr(result, "__next__") else result

        return await asyncio.to_thread(complete)

    with get_sync_client(url=url, api_key=key) as client:
        client.http.client.event_hooks["response"].append(lambda response: noted(calls, response))
        yield Sdk(client, call, client.http.client.get, calls)


@pytest.fixture(params=[asynchronous, synchronous], ids=["async", "sync"])
async def sdk(server: Server, key: str, request: pytest.FixtureRequest) -> AsyncIterator[Sdk]:
    async for sdk in request.param(server.url, key):
        yield sdk


async def test_every_address_of_the_sdks_answers(sdk: Sdk) -> None:
    for scenario in (use_assistants, use_threads, use_states, use_runs, use_stateless_runs, use_crons, use_store):
        await scenario(sdk)
    assert sorted(set(SDK_CALLS) - set(sdk.calls)) == []


async def use_assistants(sdk: Sdk) -> None:
    assistants, call = sdk.client.assistants, sdk.call
    made = await call(assistants.create, "echo", name="mine", metadata={"a": 1}, description="d")
    about = made["assistant_id"]
    assert (await call(assistants.get, about))["name"] == "mine"
    changed = await call(assistants.update, about, name="other")
    assert (changed["name"], changed["version"]) == ("other", 2)
    assert [row["version"] for row in await call(assistants.get_versions, about)] == [2, 1]
    assert (await call(assistants.set_latest, about, 1))["name"] == "mine"
    found = await call(assistants.search, graph_id="echo", metadata={"a": 1}, name="mine", limit=100)
    assert about in [row["assistant_id"] for row in found]
    assert await call(assistants.count, graph_id="echo", metadata={"a": 1}) >= 1
    assert "say" in [node["id"] for node in (await call(assistants.get_graph, about))["nodes"]]
    assert (await call(assistants.get_graph, "echo", xray=True))["edges"]
    assert "messages" in str((await call(assistants.get_schemas, about))["input_schema"])
    assert await call(assistants.get_subgraphs, about, recurse=True) == {}
    assert await call(assistants.get_subgraphs, about, namespace="none") == {}
    await call(assistants.delete, about)


async def use_threads(sdk: Sdk) -> None:
    threads, call = sdk.client.threads, sdk.call
    mark = str(uuid4())
    made = await call(threads.create, metadata={"mark": mark}, ttl=60)
    thread_id = made["thread_id"]
    await call(sdk.client.runs.wait, thread_id, "echo", input=HELLO)
    assert (await call(threads.get, thread_id))["status"] == "idle"
    assert (await call(threads.update, thread_id, metadata={"b": 2}))["metadata"]["mark"] == mark
    [found] = await call(threads.search, metadata={"mark": mark}, extract={"last": "values.messages[-1].content"})
    assert found["extracted"] == {"last": "echo: hello"}
    assert await call(threads.count, metadata={"mark": mark}) == 1
    copied = await call(threads.copy, thread_id)
    copy_id = (copied or (await call(threads.search, metadata={"mark": mark}))[0])["thread_id"]
    assert await call(threads.count, metadata={"mark": mark}) == 2
    pruned = await call(threads.prune, [thread_id], strategy="keep_latest")
    assert pruned["pruned_count"] == 1 == len(await call(threads.get_history, thread_id))
    assert await first_of(sdk, threads.join_stream, thread_id, last_event_id="0") == "metadata"
    await call(threads.delete, thread_id)
    assert copy_id != thread_id or await call(threads.count, metadata={"mark": mark}) == 1


async def first_of(sdk: Sdk, method: Any, *args: Any, **options: Any) -> Any:
    """The event of the first part of a stream that has no end."""
    result = method(*args, **options)
    if inspect.isawaitable(result):
        async for part in await result:
            return part.event
    return await asyncio.to_thread(lambda: next(iter(result)).event)


async def use_states(sdk: Sdk) -> None:
    threads, call = sdk.client.threads, sdk.call
    thread_id = (await call(threads.create))["thread_id"]
    await call(sdk.client.runs.wait, thread_id, "echo", input=HELLO)
    state = await call(threads.get_state, thread_id, subgraphs=True)
    written = await call(threads.update_state, thread_id, HELLO, as_node="say")
    assert written["checkpoint"]["thread_id"] == thread_id
    for checkpoint in ({"checkpoint": state["checkpoint"]}, {"checkpoint_id": state["checkpoint"]["checkpoint_id"]}):
        assert (await call(threads.get_state, thread_id, **checkpoint))["values"] == state["values"]
    assert len(await call(threads.get_history, thread_id, limit=2)) == 2
    for path in ("storage", "history"):
        assert (await call(sdk.http, f"/threads/{thread_id}/{path}")).json()


async def use_runs(sdk: Sdk) -> None:
    runs, call = sdk.client.runs, sdk.call
    thread_id = (await call(sdk.client.threads.create))["thread_id"]
    made = await call(runs.create, thread_id, "echo", input=HELLO)
    run_id = made["run_id"]
    assert (await call(runs.join, thread_id, run_id))["messages"][-1]["content"] == "echo: hello"
    assert (await call(runs.get, thread_id, run_id))["status"] == "success"
    assert [run["run_id"] for run in await call(runs.list, thread_id)] == [run_id]
    parts = await call(runs.stream, thread_id, "echo", input=HELLO, stream_mode=["values", "updates"])
    assert (parts[0].event, parts[-1].event) == ("metadata", "end")
    assert (await call(runs.join_stream, thread_id, run_id))[-1].event == "end"
    assert "event: end" in (await call(sdk.http, f"/runs/{run_id}/stream")).text
    slow = await call(runs.create, thread_id, "stress", input={"delay": 3600})
    await call(runs.cancel, thread_id, slow["run_id"], wait=True)
    assert (await call(runs.get, thread_id, slow["run_id"]))["status"] == "interrupted"
    await call(runs.delete, thread_id, run_id)


async def use_stateless_runs(sdk: Sdk) -> None:
    runs, call = sdk.client.runs, sdk.call
    assert (await call(runs.wait, None, "echo", input=HELLO))["messages"][-1]["content"] == "echo: hello"
    assert (await call(runs.stream, None, "echo", input=HELLO))[-1].event == "end"
    made = await call(runs.create, None, "echo", input=HELLO)
    assert made["status"] == "pending"
    batch = await call(runs.create_batch, [{"assistant_id": "stress", "input": {"delay": 3600}}] * 3)
    assert len(batch) == 3
    for run in batch:
        await call(runs.cancel_many, thread_id=run["thread_id"], run_ids=[run["run_id"]])


async def use_crons(sdk: Sdk) -> None:
    crons, call = sdk.client.crons, sdk.call
    thread_id = (await call(sdk.client.threads.create))["thread_id"]
    made = await call(crons.create, "echo", schedule="0 0 1 1 *", input=HELLO, metadata={"a": 1})
    on_thread = await call(crons.create_for_thread, thread_id, "echo", schedule="0 0 1 1 *", input=HELLO)
    assert on_thread["thread_id"] == thread_id
    assert (await call(crons.update, made["cron_id"], enabled=False))["enabled"] is False
    found = await call(crons.search, thread_id=thread_id)
    assert [cron["cron_id"] for cron in found] == [on_thread["cron_id"]]
    assert await call(crons.count, thread_id=thread_id) == 1
    assert (await call(sdk.http, f"/runs/crons/{made['cron_id']}")).json()["cron_id"] == made["cron_id"]
    for cron in (made, on_thread):
        await call(crons.delete, cron["cron_id"])


async def use_store(sdk: Sdk) -> None:
    store, call = sdk.client.store, sdk.call
    place = ["users", uuid4().hex]
    await call(store.put_item, place, "key", {"a": 1})
    assert (await call(store.get_item, place, "key"))["value"] == {"a": 1}
    assert len((await call(store.search_items, place, filter={"a": 1}))["items"]) == 1
    assert (await call(store.list_namespaces, prefix=place))["namespaces"] == [place]
    await call(store.delete_item, place, "key")
    assert (await call(store.search_items, place))["items"] == []


async def test_what_no_method_of_the_sdks_calls_answers_too(sdk: Sdk) -> None:
    await use_states(sdk)
    await use_runs(sdk)
    await use_crons(sdk)
    for path in ("/info", "/ok", "/docs", "/openapi.json"):
        await sdk.call(sdk.http, path)
    assert sorted(set(OTHERS) - set(sdk.calls)) == []
