"""Our own streaming client, `runs/static/runs/stream.js`, in Node against a real server."""

import asyncio
from functools import partial
from typing import Any

import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient

from tests.e2e.server import Server
from tests.e2e.servers import MakeServer
from tests.javascript import JavaScript

WORDS = "".join(f"word{number} " for number in range(100))
EACH_TRANSPORT = pytest.mark.parametrize("transport", ["websocket", "sse"])


@pytest.fixture
def run(javascript: JavaScript, server: Server, key: str) -> Any:
    return partial(javascript.run, url=server.url, key=key)


@EACH_TRANSPORT
def test_a_conversation_over_one_transport(run: Any, transport: str) -> None:
    saw = run("follow.converse", transport=transport)
    assert saw["states"] == [["connecting", None], ["open", transport], ["closed", None]]
    assert saw["refused"] == "no_such_run"
    assert saw["ends"] == ["interrupted", "completed"]


@EACH_TRANSPORT
@pytest.mark.parametrize("seed", range(2))
def test_a_broken_stream_is_the_whole_stream(run: Any, transport: str, seed: int) -> None:
    saw = run("follow.cuts", transport=transport, seed=seed, most=8000)
    assert saw["cuts"] > 3
    assert len(saw["whole"]) > 100
    assert saw["broken"] == saw["whole"]
    assert ["open", transport] in saw["states"]


@EACH_TRANSPORT
async def test_a_record_of_several_events_is_delivered_once(
    javascript: JavaScript, client: LangGraphClient, server: Server, key: str, transport: str
) -> None:
    thread_id = (await client.threads.create())["thread_id"]
    # The messages of a classic run are told anew: the first and the last piece of each become several events.
    modes: Any = ["values", "messages-tuple"]
    run = await client.runs.create(thread_id, "deep", input={"messages": []}, stream_mode=modes, stream_subgraphs=True)
    await client.runs.join(thread_id, run["run_id"])
    given = {"transport": transport, "seed": 1, "most": 4000, "threadId": thread_id}
    saw = await asyncio.to_thread(javascript.run, "follow.cuts", url=server.url, key=key, **given)
    assert saw["cuts"] > 5
    assert any("." in event["event_id"] for event in saw["whole"])
    assert saw["broken"] == saw["whole"]


def test_without_sockets_it_is_followed_by_requests(run: Any) -> None:
    saw = run("follow.blocked")
    assert saw["attempts"] == 1
    assert saw["said"] == "".join(f"word{number} " for number in range(20))
    states = [state for state in saw["states"] if state[0] != "waiting"]
    assert states == [["connecting", None], ["open", "sse"]] * 2 + [["closed", None]]


def test_a_silent_connection_is_given_up(run: Any) -> None:
    saw = run("follow.silent")
    assert saw["said"] == "".join(f"word{number} " for number in range(10))
    assert ["waiting", "silent"] in saw["states"]


@EACH_TRANSPORT
def test_a_wrong_key_ends_it(run: Any, transport: str) -> None:
    saw = run("follow.refused", transport=transport, key="dfk_wrong")
    assert saw["code"] == 401
    assert saw["states"] == [["connecting", None], ["closed", 401]]


def test_a_wrong_channel_ends_it(run: Any) -> None:
    assert run("follow.refused", transport="websocket", options={"channels": ["nothing"]})["code"] == "invalid_argument"


def test_a_deleted_thread_ends_it(run: Any) -> None:
    assert run("follow.deleted", transport="websocket") == 4404


async def test_it_outlives_the_server(javascript: JavaScript, make_server: MakeServer, key: str) -> None:
    server = make_server().start()
    async with get_client(url=server.url, api_key=key) as client:
        thread_id = (await client.threads.create())["thread_id"]
        javascript.begin("follow.watch", url=server.url, key=key, threadId=thread_id)
        options: Any = {"configurable": {"n": 100, "delay": 0.01}}
        run = await client.runs.create(
            thread_id, "tokens", input={"messages": []}, config=options, stream_mode="messages-tuple"
        )
        async for part in client.runs.join_stream(thread_id, run["run_id"]):
            if part.event == "messages":
                break
    server.stop()
    server.start()
    over_socket, by_requests = await asyncio.to_thread(javascript.result)
    assert over_socket["states"].count(["open", "websocket"]) == 2
    assert by_requests["states"].count(["open", "sse"]) == 2
    assert over_socket["events"] == by_requests["events"]
    assert over_socket["said"].endswith(WORDS)
