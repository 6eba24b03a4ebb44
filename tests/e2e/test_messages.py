"""What is kept of conversations by real servers: once, counted, named, over a crash too."""

from typing import Any

import httpx
import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient

from tests.e2e.server import Server
from tests.e2e.servers import MakeServer
from tests.e2e.waiting import eventually

HELLO = {"messages": [{"role": "user", "content": "calculate 2+3"}]}


async def get(server: Server, key: str, path: str) -> Any:
    async with httpx.AsyncClient(base_url=server.url, headers={"X-Api-Key": key}) as http:
        answer = await http.get(path)
        answer.raise_for_status()
        return answer.json()


def said(rows: Any) -> list[tuple[str, str]]:
    return [(row["event_type"], row["content"]["content"]) for row in rows]


@pytest.fixture
async def thread_id(client: LangGraphClient) -> str:
    return str((await client.threads.create())["thread_id"])


async def test_a_conversation_is_kept_counted_and_named(
    client: LangGraphClient, server: Server, key: str, thread_id: str
) -> None:
    for text in ("calculate 2+3", "and now a story"):
        given = {"messages": [{"role": "user", "content": text}]}
        await client.runs.wait(thread_id, "lead_agent", input=given)

    rows = await get(server, key, f"/threads/{thread_id}/messages")
    human, ai, tool = "llm.human.input", "llm.ai.response", "llm.tool.result"
    assert [row["event_type"] for row in rows] == [human, ai, tool, ai, human, ai]
    runs = await client.runs.list(thread_id)
    counted: Any = runs[1]
    assert (counted["message_count"], counted["llm_call_count"], counted["model_name"]) == (4, 2, "offline")
    assert counted["first_human_message"] == "calculate 2+3" and "5" in counted["last_ai_message"]
    usage = await get(server, key, f"/threads/{thread_id}/token-usage")
    assert usage["total_tokens"] == sum(run["total_tokens"] for run in runs) > 0  # type: ignore[typeddict-item]
    assert usage["by_model"] == {"offline": {"tokens": usage["total_tokens"], "runs": 2}}

    thread: Any = await client.threads.get(thread_id)
    assert thread["values"]["title"] == "calculate 2+3"
    await client.threads.update_state(thread_id, {"title": "Sums"})
    await client.runs.wait(thread_id, "lead_agent", input=HELLO)
    renamed: Any = await client.threads.get(thread_id)
    assert renamed["values"]["title"] == "Sums"


async def test_a_first_turn_that_is_cancelled_has_its_message(
    client: LangGraphClient, server: Server, key: str, thread_id: str
) -> None:
    run = await client.runs.create(
        thread_id, "tokens", input=HELLO, stream_mode="messages-tuple", config={"configurable": {"delay": 30}}
    )
    place = f"/threads/{thread_id}/runs/{run['run_id']}"

    async def is_asked() -> Any:
        return await get(server, key, f"{place}/messages")

    async def has_come() -> bool:
        return bool((await is_asked())["data"])

    await eventually(has_come)
    await client.runs.cancel(thread_id, run["run_id"], wait=True)
    assert said((await is_asked())["data"]) == [("llm.human.input", "calculate 2+3")]
    shown = await get(server, key, place)
    assert (shown["message_count"], shown["last_ai_message"]) == (1, None)
    kinds = [event["event_type"] for event in await get(server, key, f"{place}/events")]
    assert kinds == ["run.start", "llm.human.input", "run.end"]


@pytest.mark.parametrize("durability", ["sync", "exit"])
async def test_a_crash_leaves_each_message_once(make_server: MakeServer, key: str, durability: Any) -> None:
    server = make_server().start()
    async with get_client(url=server.url, api_key=key) as client:
        thread_id = (await client.threads.create())["thread_id"]
        await client.runs.wait(thread_id, "echo", input=HELLO)
        run = await client.runs.create(
            thread_id,
            "tokens",
            input=HELLO,
            stream_mode="messages-tuple",
            durability=durability,
            config={"configurable": {"n": 8, "delay": 0.25}},
        )
        of = thread_id, run["run_id"]
        place = f"/threads/{thread_id}/runs/{run['run_id']}"

        async def has_come() -> bool:
            return bool((await get(server, key, f"{place}/messages"))["data"])

        await eventually(has_come)
        server.kill()
        server.start()
        await client.runs.join(thread_id, run["run_id"])
        rows = (await get(server, key, f"{place}/messages"))["data"]
        shown = await get(server, key, place)
        state: Any = await client.threads.get_state(thread_id)
        attempts = [part.data["attempt"] async for part in client.runs.join_stream(*of) if part.event == "metadata"]
    assert [row["content"]["id"] for row in rows] == [message["id"] for message in state["values"]["messages"][2:]]
    assert [row["event_type"] for row in rows] == ["llm.human.input", "llm.ai.response"]
    assert (shown["message_count"], shown["first_human_message"]) == (2, "calculate 2+3")
    assert (shown["status"], attempts) == ("success", [1, 2])
