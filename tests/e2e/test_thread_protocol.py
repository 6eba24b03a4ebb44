"""The official Python SDK speaks the Agent Streaming Protocol: `client.threads.stream`, over both transports."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient

from tests.e2e.server import Server
from tests.e2e.waiting import eventually
from tests.e2e.watching import TRANSPORTS, Event, Watch, datas, ends_a_run, recorded, text_of, texts
from tests.faults.proxy import Proxy

HELLO: Any = {"messages": [{"role": "user", "content": "hello"}]}
WORDS = ["word0 ", "word1 ", "word2 "]
THREE: Any = {"configurable": {"n": 3}}

#: Opens a stream of the SDK for a graph; on a new thread, or on the one that is named.
OpenThread = Callable[..., Any]


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_thread(client: LangGraphClient, key: str, transport: Any) -> OpenThread:
    def open_thread(graph: str, thread_id: str | None = None) -> Any:
        # The SDK gives the headers of the client to no WebSocket.
        return client.threads.stream(
            thread_id, assistant_id=graph, transport=transport, headers={"X-Api-Key": key}, run_start_timeout=60
        )

    return open_thread


async def all_of(source: Any) -> list[Any]:
    return [item async for item in source]


async def said_by(messages: Any) -> list[list[str]]:
    """The pieces of each message, read while the next one is waited for: only then the SDK hands them on."""
    reading = [asyncio.create_task(all_of(message.text)) async for message in messages]
    return await asyncio.gather(*reading)


async def until_ended(events: AsyncIterator[Event]) -> list[Event]:
    """The events up to the end of a run."""
    found = []
    async for event in events:
        if event.get("type") != "event":
            # The SDK passes answers to commands on.
            continue
        found.append(event)
        if ends_a_run(event):
            break
    return found


# What a run streams.


async def test_values_are_the_states_of_the_run(open_thread: OpenThread) -> None:
    async with open_thread("echo") as thread:
        started = await thread.run.start(input=HELLO)
        assert started["run_id"]
        # The first is the one that the SDK has asked for.
        _, *states = await all_of(thread.values)
        assert list(map(texts, states)) == [["hello"], ["hello", "echo: hello"]]
        assert await thread.output == states[-1]


async def test_messages_come_word_by_word(open_thread: OpenThread) -> None:
    async with open_thread("tokens") as thread:
        await thread.run.start(input=HELLO, config=THREE)
        assert await said_by(thread.messages) == [WORDS]
        assert texts(await thread.output) == ["hello", "".join(WORDS)]


async def test_a_streamed_message_is_the_one_of_the_state(open_thread: OpenThread) -> None:
    async with open_thread("channels") as thread:
        await thread.run.start(input=HELLO, config=THREE)
        messages = await all_of(thread.messages)
        whole = [await message.output for message in messages]
        state = (await thread.output)["messages"]
    found = {message["id"]: message for message in state if message["type"] == "ai"}
    # Those of the subgraphs are not the root's.
    assert len(found) == 4 and len(whole) == 2
    for message in whole:
        same = found[message.id]
        assert (message.text, message.tool_calls) == (text_of(same["content"]), same["tool_calls"])


async def test_words_come_while_their_message_is_not_finished(open_thread: OpenThread, client: LangGraphClient) -> None:
    # For half an hour.
    config = {"configurable": {"n": 100_000, "delay": 0.02}}
    async with open_thread("tokens") as thread:
        run = await thread.run.start(input=HELLO, config=config)
        messages = aiter(thread.messages)
        pieces = aiter((await anext(messages)).text)
        next_message = asyncio.ensure_future(anext(messages, None))
        assert [await anext(pieces) for _ in WORDS] == WORDS
        assert (await client.runs.get(thread.thread_id, run["run_id"]))["status"] == "running"
        await client.runs.cancel(thread.thread_id, run["run_id"], wait=True)
        with pytest.raises(RuntimeError, match="cancelled"):
            await thread.output
        assert await next_message is None


async def test_a_tool_call_streams_its_input_what_it_says_and_its_output(open_thread: OpenThread) -> None:
    async with open_thread("channels") as thread:
        await thread.run.start(input=HELLO, config=THREE)
        [call] = await all_of(thread.tool_calls)
        assert (call.name, call.tool_call_id, call.input) == ("count", "call-1", {"to": 3})
        assert await all_of(call.deltas) == ["1 ", "2 ", "3 "]
        assert text_of((await call.output)["content"]) == "counted to 3"


async def test_subgraphs_are_found_on_every_level_with_what_they_say(open_thread: OpenThread) -> None:
    async with open_thread("channels") as thread:
        await thread.run.start(input=HELLO, config=THREE)
        [child] = await all_of(thread.subgraphs)
        assert (child.graph_name, child.status, len(child.namespace)) == ("child", "completed", 1)
        [grandchild] = await all_of(child.subgraphs)
        assert (grandchild.graph_name, grandchild.status) == ("grandchild", "completed")
        assert grandchild.namespace[:1] == child.namespace and len(grandchild.namespace) == 2
        for one in (child, grandchild):
            assert await said_by(one.messages) == [WORDS]
        assert await said_by(thread.messages) == [["Let me count."], WORDS]


async def test_extensions_are_custom_events_of_their_name(open_thread: OpenThread) -> None:
    async with open_thread("channels") as thread:
        await thread.run.start(input=HELLO, config=THREE)
        parts = await all_of(thread.extensions["progress"])
    assert parts == [{"name": "progress", "payload": {"done": done}} for done in (1, 2)]


async def test_projections_are_interleaved_as_the_run_goes_on(open_thread: OpenThread) -> None:
    async with open_thread("channels") as thread:
        await thread.run.start(input=HELLO, config=THREE)
        wanted = ["updates", "messages", "tool_calls", "progress"]
        parts = await all_of(thread.interleave_projections(wanted))
    assert [name for name, _ in parts] == [
        *["progress", "progress", "updates"],
        *["messages", "updates"],
        *["tool_calls", "updates"],
        *["updates", "messages", "updates"],
    ]
    assert [data["node"] for name, data in parts if name == "updates"] == ["report", "call", "tools", "child", "speak"]


async def test_events_are_everything_in_order(open_thread: OpenThread) -> None:
    async with open_thread("channels") as thread:
        await thread.run.start(input=HELLO, config=THREE)
        events = await until_ended(thread.events)
    assert {event["method"] for event in events} == {
        *("values", "updates", "messages", "tools", "lifecycle", "checkpoints", "tasks", "custom")
    }
    seqs = [event["seq"] for event in events]
    assert seqs == sorted(seqs) and len({event["event_id"] for event in events}) == len(events)
    assert {len(event["params"]["namespace"]) for event in events} == {0, 1, 2}
    assert datas(events, "lifecycle", []) == [
        {"event": "running", "graph_name": "channels"},
        {"event": "completed", "graph_name": "channels"},
    ]
    assert datas(events, "custom") == [
        {"name": "progress", "payload": {"done": 1}},
        {"name": "progress", "payload": {"done": 2}},
        {"payload": {"said": "in passing"}},
    ]


async def test_each_checkpoint_comes_right_before_its_values(open_thread: OpenThread) -> None:
    async with open_thread("echo") as thread:
        await thread.run.start(input=HELLO)
        events = await until_ended(thread.subscribe(["checkpoints", "values", "lifecycle"]))
    methods = [event["method"] for event in events]
    assert {before for before, method in itertools.pairwise(methods) if method == "values"} == {"checkpoints"}
    checkpoints = datas(events, "checkpoints")
    assert [one["step"] for one in checkpoints] == list(range(checkpoints[0]["step"], checkpoints[-1]["step"] + 1))
    assert [one["parent_id"] for one in checkpoints[1:]] == [one["id"] for one in checkpoints[:-1]]


# How runs end, wait and go on.


@pytest.mark.parametrize(
    ("graph", "depth", "question"),
    [("interrupt", 0, {"question": "May I?", "said": "hello"}), ("asking_deep", 2, {"question": "How deep?"})],
    ids=["root", "subgraph"],
)
async def test_a_run_that_asks_goes_on_with_the_answer(
    open_thread: OpenThread, graph: str, depth: int, question: Any
) -> None:
    async with open_thread(graph) as thread:
        await thread.run.start(input=HELLO)

        async def asked() -> bool:
            return bool(thread.interrupted)

        await eventually(asked)
        [asking] = thread.interrupts
        assert (len(asking["namespace"]), asking["value"]) == (depth, question)
        await thread.run.respond("yes")
        values = await asyncio.wait_for(thread.output, 60)
        assert "answered: yes" in texts(values)
        assert (thread.interrupted, thread.interrupts) == (False, [])


async def test_iteration_ends_where_the_run_asks(
    open_thread: OpenThread, server: Server, key: str, transport: str
) -> None:
    async with open_thread("interrupt", str(uuid4())) as thread:
        events = asyncio.create_task(all_of(thread.subscribe(["values"])))
        await asyncio.sleep(0)  # It has subscribed: there is no thread yet.
        await thread.run.start(input=HELLO)
        # The SDK hears of the question by another connection, and may do so before it has read the values.
        await asyncio.wait_for(events, 60)
        assert thread.interrupted
        await thread.run.respond("yes")
        assert texts(await thread.output) == ["hello", "answered: yes"]
    async with Watch(transport, server.url, key, thread.thread_id, since=0) as watch:
        first_run = itertools.takewhile(lambda event: not ends_a_run(event), await watch.read_runs())
    told = [event["method"] for event in first_run if event["method"] in ("values", "input.requested")]
    assert (told.count("values") > 0, told.index("input.requested")) == (True, len(told) - 1)


async def test_an_answer_to_nothing_is_refused(open_thread: OpenThread) -> None:
    async with open_thread("interrupt") as thread:
        await thread.run.start(input=HELLO)
        thread.interrupts.append({"interrupt_id": "unknown", "value": None, "namespace": []})
        with pytest.raises(RuntimeError, match=r"\[no_such_interrupt\]"):
            await thread.run.respond("yes", interrupt_id="unknown")


async def test_a_failure_is_raised_with_its_reason(open_thread: OpenThread) -> None:
    async with open_thread("fail") as thread:
        await thread.run.start(input=HELLO)
        with pytest.raises(RuntimeError, match="this graph always fails"):
            await thread.output


async def test_a_thread_runs_again_and_again_on_one_stream(open_thread: OpenThread) -> None:
    async with open_thread("echo") as thread:
        events, found = thread.events, []
        for _ in range(2):
            await thread.run.start(input=HELLO)
            found += await until_ended(events)
    assert [len(values["messages"]) for values in datas(recorded(found), "values")] == [1, 2, 3, 4]
    assert [data["event"] for data in datas(found, "lifecycle")] == ["running", "completed"] * 2


# Several clients, and those of the other API.


async def test_two_clients_see_one_run(open_thread: OpenThread) -> None:
    thread_id = str(uuid4())
    async with open_thread("channels", thread_id) as first, open_thread("channels", thread_id) as second:
        watching = [asyncio.create_task(until_ended(one.events)) for one in (first, second)]
        await first.run.start(input=HELLO, config=THREE)
        mine, other = await asyncio.gather(*watching)
        assert recorded(mine) == recorded(other)
        assert await first.output == await second.output


@pytest.mark.parametrize("modes", [["values", "messages-tuple", "updates"], ["messages", "updates", "values"]])
async def test_a_run_of_the_other_api_is_watched(
    open_thread: OpenThread, client: LangGraphClient, modes: list[Any]
) -> None:
    made = await client.threads.create()
    async with open_thread("tokens", made["thread_id"]) as thread:
        run = await client.runs.create(
            made["thread_id"], "tokens", input=HELLO, config=THREE, stream_mode=modes, stream_subgraphs=True
        )
        events = await until_ended(thread.events)
        values: Any = await client.runs.join(made["thread_id"], run["run_id"])
    assert [texts(values) for values in datas(events, "values")][-1] == texts(values)
    assert [update["node"] for update in datas(events, "updates")] == ["speak"]
    words = [data["delta"]["text"] for data in datas(events, "messages") if data["event"] == "content-block-delta"]
    assert "".join(words) == "".join(WORDS)
    kinds = [data["event"] for data in datas(events, "messages")]
    assert (kinds[:2], kinds[-2:]) == (
        ["message-start", "content-block-start"],
        ["content-block-finish", "message-finish"],
    )


async def test_the_other_api_watches_a_run_of_the_protocol(open_thread: OpenThread, client: LangGraphClient) -> None:
    async with open_thread("channels") as thread:
        run = await thread.run.start(input=HELLO, config=THREE)
        parts = [part async for part in client.runs.join_stream(thread.thread_id, run["run_id"])]
        modes: Any = ["messages-tuple"]
        tuples = [p async for p in client.runs.join_stream(thread.thread_id, run["run_id"], stream_mode=modes)]
        output = await thread.output
    assert (parts[0].event, parts[-1].event) == ("metadata", "end")
    assert [part.data for part in parts if part.event == "values"][-1] == output
    updates = [part for part in parts if part.event.partition("|")[0] == "updates"]
    assert [list(part.data) for part in updates if part.event == "updates"] == [
        [node] for node in ("report", "call", "tools", "child", "speak")
    ]
    words = [part.data[0]["content"] for part in tuples if part.event == "messages"]
    assert "".join(map(text_of, words)).endswith("".join(WORDS))


async def test_a_stream_of_before_is_gone_on_with(open_thread: OpenThread, client: LangGraphClient) -> None:
    made = await client.threads.create()
    await client.runs.wait(made["thread_id"], "echo", input=HELLO)
    async with open_thread("echo", made["thread_id"]) as thread:
        assert texts(await thread.output) == ["hello", "echo: hello"]
        events = await until_ended(thread.events)
    # The state as it is, and then how it became so.
    assert texts(datas(events, "values")[0]) == ["hello", "echo: hello"]
    assert [len(values["messages"]) for values in datas(events, "values")[1:]] == [1, 2]


# Connections break.


async def test_a_client_that_was_cut_off_comes_back_and_misses_nothing(
    server: Server, key: str, transport: Any
) -> None:
    config = {"configurable": {"n": 40, "delay": 0.05}}
    async with Proxy(lambda: [server.url], random.Random(1)) as proxy, get_client(url=proxy.url, api_key=key) as client:
        stream = client.threads.stream(assistant_id="tokens", transport=transport, headers={"X-Api-Key": key})
        async with stream as thread:
            await thread.run.start(input=HELLO, config=config)
            messages = aiter(thread.messages)
            message = await anext(messages)
            next_message = asyncio.ensure_future(anext(messages, None))
            pieces = []
            async for piece in message.text:
                pieces.append(piece)
                if len(pieces) in (5, 20):
                    proxy.cut_all()
            assert pieces == [f"word{number} " for number in range(40)]
            assert texts(await thread.output)[-1] == "".join(pieces)
            assert await next_message is None
