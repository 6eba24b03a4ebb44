"""The synchronous Python SDK speaks the Agent Streaming Protocol as the other one does: over both transports."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient

from tests.e2e.server import Server
from tests.e2e.waiting import until
from tests.e2e.watching import TRANSPORTS, Event, datas, ends_a_run, text_of, texts

HELLO: Any = {"messages": [{"role": "user", "content": "hello"}]}
WORDS = ["word0 ", "word1 ", "word2 "]
THREE: Any = {"configurable": {"n": 3}}

#: Opens a stream of the SDK for a graph; on a new thread, or on the one that is named.
OpenThread = Callable[..., Any]


@pytest.fixture
def sync_client(server: Server, key: str) -> Iterator[SyncLangGraphClient]:
    with get_sync_client(url=server.url, api_key=key) as client:
        yield client


@pytest.fixture(params=TRANSPORTS)
def open_thread(sync_client: SyncLangGraphClient, key: str, request: pytest.FixtureRequest) -> OpenThread:
    def open_thread(graph: str, thread_id: str | None = None) -> Any:
        # The SDK gives the headers of the client to no WebSocket.
        return sync_client.threads.stream(
            thread_id, assistant_id=graph, transport=request.param, headers={"X-Api-Key": key}
        )

    return open_thread


def until_ended(events: Iterator[Event]) -> list[Event]:
    found = []
    for event in events:
        found.append(event)
        if ends_a_run(event):
            break
    return found


def test_values_messages_and_output(open_thread: OpenThread) -> None:
    with open_thread("tokens") as thread:
        thread.run.start(input=HELLO, config=THREE)
        # The first is the one that the SDK has asked for.
        _, *states = thread.values
        assert list(map(texts, states)) == [["hello"], ["hello", "".join(WORDS)]]
        assert texts(thread.output) == ["hello", "".join(WORDS)]
    with open_thread("tokens") as thread:
        thread.run.start(input=HELLO, config=THREE)
        assert [list(message.text) for message in list(thread.messages)] == [WORDS]


def test_a_tool_call(open_thread: OpenThread) -> None:
    with open_thread("channels") as thread:
        thread.run.start(input=HELLO, config=THREE)
        [call] = list(thread.tool_calls)
        assert (call.name, call.tool_call_id, call.input) == ("count", "call-1", {"to": 3})
        assert list(call.deltas) == ["1 ", "2 ", "3 "]
        assert text_of(call.output["content"]) == "counted to 3"


def test_subgraphs_on_every_level(open_thread: OpenThread) -> None:
    with open_thread("channels") as thread:
        thread.run.start(input=HELLO, config=THREE)
        [child] = list(thread.subgraphs)
        [grandchild] = list(child.subgraphs)
        assert [one.graph_name for one in (child, grandchild)] == ["child", "grandchild"]
        assert [one.status for one in (child, grandchild)] == ["completed", "completed"]
        for one in (child, grandchild):
            assert [list(message.text) for message in list(one.messages)] == [WORDS]


def test_extensions(open_thread: OpenThread) -> None:
    with open_thread("channels") as thread:
        thread.run.start(input=HELLO, config=THREE)
        parts = list(thread.extensions["progress"])
    assert parts == [{"name": "progress", "payload": {"done": done}} for done in (1, 2)]


def test_interleaved_projections(open_thread: OpenThread) -> None:
    with open_thread("channels") as thread:
        thread.run.start(input=HELLO, config=THREE)
        parts = list(thread.interleave_projections(["updates", "progress"]))
    assert [name for name, _ in parts] == [*["progress"] * 2, *["updates"] * 5]


def test_a_question_is_answered(open_thread: OpenThread) -> None:
    with open_thread("interrupt") as thread:
        thread.run.start(input=HELLO)
        until(lambda: thread.interrupted)
        assert [one["value"] for one in thread.interrupts] == [{"question": "May I?", "said": "hello"}]
        thread.run.respond("yes")
        assert texts(thread.output) == ["hello", "answered: yes"]


def test_a_failure_is_raised(open_thread: OpenThread) -> None:
    with open_thread("fail") as thread:
        thread.run.start(input=HELLO)
        with pytest.raises(RuntimeError, match="this graph always fails"):
            _ = thread.output


def test_a_cancelled_run_ends(open_thread: OpenThread, sync_client: SyncLangGraphClient) -> None:
    with open_thread("stress") as thread:
        run = thread.run.start(input={"hang": "async"})
        sync_client.runs.cancel(thread.thread_id, run["run_id"], wait=True)
        with pytest.raises(RuntimeError, match="cancelled"):
            _ = thread.output


def test_events_of_several_runs(open_thread: OpenThread) -> None:
    thread_id, events = str(uuid4()), []
    for _ in range(2):
        with open_thread("echo", thread_id) as thread:
            thread.run.start(input=HELLO)
            events += until_ended(thread.events)
    assert [data["event"] for data in datas(events, "lifecycle")] == ["running", "completed"] * 2
    assert [len(values["messages"]) for values in datas(events, "values")] == [1, 2, 3, 4]
