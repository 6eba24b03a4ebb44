"""The WebSocket of a thread: what it speaks, and how it goes on after a cut."""

import json
from typing import Any
from uuid import uuid4

import pytest
from langgraph_sdk.client import LangGraphClient

from tests.e2e.server import Server
from tests.e2e.sockets import is_end, open_socket

NOT_JSON = {
    "type": "error",
    "id": None,
    "error": "invalid_argument",
    "message": "Protocol commands must be valid JSON.",
}


def ids(events: list[dict[str, Any]]) -> list[str]:
    return [event["event_id"] for event in events]


async def test_a_run_is_started_and_watched_by_one_socket(server: Server, key: str) -> None:
    async with open_socket(server, key) as socket:
        assert (await socket.subscribe(["lifecycle", "values"]))["replayed_events"] == 0
        assert (await socket.run())["type"] == "success"
        events = await socket.until_end()
    assert events[0]["params"]["data"]["event"] == "running" and is_end(events[-1])
    assert [event["seq"] for event in events] == sorted(event["seq"] for event in events)


async def test_the_sdk_watches_by_a_socket(server: Server, key: str, client: LangGraphClient) -> None:
    # It does not send the key of its client with the handshake.
    told = {"x-api-key": key}
    async with client.threads.stream(str(uuid4()), assistant_id="echo", transport="websocket", headers=told) as thread:
        await thread.run.start(input={"messages": [{"role": "user", "content": "hi"}]})
        output = await thread.output
    assert output is not None and output["messages"][-1]["content"] == "echo: hi"


async def test_whoever_comes_later_is_shown_the_same(server: Server, key: str) -> None:
    thread_id = str(uuid4())
    async with open_socket(server, key, thread_id) as first, open_socket(server, key, thread_id) as second:
        await first.subscribe()
        await first.run()
        seen = await first.until_end()
        replayed = await second.subscribe(since=0)
        assert replayed["replayed_events"] == len(seen)
        assert await second.until_end() == seen


async def test_a_long_replay_is_answered_before_its_end(server: Server, key: str) -> None:
    """JavaScript's SDK is lost when it is cut before the answer."""
    thread_id = str(uuid4())
    async with open_socket(server, key, thread_id) as first, open_socket(server, key, thread_id) as second:
        await first.subscribe()
        await first.command("run.start", assistant_id="stress", input={"steps": 1, "tokens": 400})
        seen = await first.until_end()
        answer = await second.subscribe(since=0)
        assert answer.keys() == {"subscription_id"} and len(second.kept) < len(seen)
        assert await second.until_end() == seen


async def test_an_event_of_several_subscriptions_comes_once(server: Server, key: str) -> None:
    async with open_socket(server, key) as socket:
        await socket.subscribe(["values"])
        await socket.subscribe(["lifecycle", "values"])
        await socket.run()
        seen = ids(await socket.until_end())
    assert len(seen) == len(set(seen))


async def test_a_subscription_ends_when_it_is_told_to(server: Server, key: str) -> None:
    async with open_socket(server, key) as socket:
        values = await socket.subscribe(["values"])
        await socket.subscribe(["lifecycle"])
        left = await socket.command("subscription.unsubscribe", subscription_id=values["subscription_id"])
        assert (left["type"], left["result"]) == ("success", {})
        again = await socket.command("subscription.unsubscribe", subscription_id=values["subscription_id"])
        assert again["error"] == "no_such_subscription"
        await socket.run()
        assert {event["method"] for event in await socket.until_end()} == {"lifecycle"}


async def test_a_cut_socket_is_restored_without_a_loss(server: Server, key: str) -> None:
    thread_id = str(uuid4())
    async with open_socket(server, key, thread_id) as first:
        subscription = (await first.subscribe())["subscription_id"]
        run_id = (await first.run())["result"]["run_id"]
        seen = await first.until_end()
    last = seen[len(seen) // 2]["event_id"]
    async with open_socket(server, key, thread_id) as second:
        restored = await second.command(
            "subscription.reconnect", run_id=run_id, last_event_id=last, subscriptions=[subscription]
        )
        missed = ids(await second.until_end())
        left = await second.command("subscription.unsubscribe", subscription_id=subscription)
    result = restored["result"]
    assert result["restored"] and result["missed_events"] == len(missed)
    assert result["current_namespaces"] == [{"namespace": [], "status": "completed"}]
    assert ids(seen[: len(seen) // 2 + 1]) + [
        each for each in missed if each not in ids(seen[: len(seen) // 2 + 1])
    ] == ids(seen)
    assert left["type"] == "success"


async def test_a_socket_that_is_cut_while_it_is_restored_is_restored_without_a_loss(server: Server, key: str) -> None:
    thread_id = str(uuid4())
    async with open_socket(server, key, thread_id) as first:
        wanted = [
            (await first.subscribe([channel]))["subscription_id"] for channel in ("values", "lifecycle", "updates")
        ]
        run_id = (await first.run())["result"]["run_id"]
        whole = [each for each in ids(await first.until_end()) if "." not in each]
    last, seen = whole[0], whole[:1]
    while seen[-1] != whole[-1]:
        async with open_socket(server, key, thread_id) as again:
            restored = await again.command(
                "subscription.reconnect", run_id=run_id, last_event_id=last, subscriptions=wanted
            )
            missed = ids(again.kept)
            assert restored["result"]["missed_events"] == len(missed)
        # The rest never came.
        last = missed[0]
        seen += [each for each in missed[:1] if each not in seen]
        assert missed == whole[whole.index(last) :]
    assert seen == whole


@pytest.mark.parametrize(
    ("over", "error"),
    [
        ({"run_id": str(uuid4())}, "no_such_run"),
        ({"last_event_id": "x"}, "invalid_argument"),
        ({"subscriptions": ["x"]}, "no_such_subscription"),
        ({"subscriptions": ["eyJ4IjoxfQ.x"]}, "no_such_subscription"),
        ({"subscriptions": "x"}, "invalid_argument"),
        ({"other": 1}, "invalid_argument"),
    ],
)
async def test_what_can_not_be_restored_is_named(server: Server, key: str, over: Any, error: str) -> None:
    async with open_socket(server, key) as socket:
        run_id = (await socket.run())["result"]["run_id"]
        answer = await socket.command("subscription.reconnect", **{"run_id": run_id, **over})
    assert answer["error"] == error


@pytest.mark.parametrize(
    "garbage",
    ["", " ", "garbage", "{", "[1", "NaN", '{"id": 1', b"", b"\x00\xff", b'{"id":1,"method":"run.start"}', "\ufeff"],
)
async def test_what_is_no_json_is_answered_and_the_socket_stays(server: Server, key: str, garbage: str | bytes) -> None:
    async with open_socket(server, key) as socket:
        await socket.connection.send(garbage)
        answer = json.loads(await socket.connection.recv())
        assert answer["error"] == "invalid_argument" and answer["id"] is None
        assert garbage == "NaN" or answer == NOT_JSON
        assert (await socket.command("subscription.subscribe", channels=["values"]))["type"] == "success"


@pytest.mark.parametrize(
    "odd",
    [
        *("1", "null", "[]", '"x"', "{}", "[" * 200, '{"id": 1}', '{"id": -1, "method": "x"}'),
        *('{"id": "1", "method": "x"}', '{"id": 1, "id": 2, "method": "x"}', '{"id": 7, "method": 3}'),
        '{"id": 1e400, "method": "x"}',
    ],
)
async def test_what_is_no_command_is_answered_and_the_socket_stays(server: Server, key: str, odd: str) -> None:
    async with open_socket(server, key) as socket:
        await socket.connection.send(odd)
        answer = json.loads(await socket.connection.recv())
        assert (answer["type"], answer["error"]) == ("error", "invalid_argument")
        assert (await socket.command("nothing.known"))["error"] == "unknown_command"


@pytest.mark.parametrize("params", [{}, {"channels": []}, {"channels": ["x"]}, {"channels": ["values"], "x": 1}])
async def test_a_subscription_to_nothing_known_is_refused(server: Server, key: str, params: Any) -> None:
    async with open_socket(server, key) as socket:
        answer = await socket.command("subscription.subscribe", **params)
    assert answer["error"] == "invalid_argument" and ("channels" in answer["message"] or "x" in answer["message"])


async def test_commands_are_performed_one_after_the_other(server: Server, key: str) -> None:
    async with open_socket(server, key) as socket:
        for number in range(50):
            await socket.connection.send(json.dumps({"id": number, "method": "agent.getTree", "params": {}}))
        answers = [json.loads(await socket.connection.recv())["id"] for _ in range(50)]
    assert answers == list(range(50))
