"""The JavaScript SDK, unmodified, in Node against a real server."""

from functools import partial
from typing import Any

import pytest

from tests.e2e.server import Server
from tests.javascript import FOLDER, JavaScript


@pytest.fixture
def run(javascript: JavaScript, server: Server, key: str) -> Any:
    """`run("file.function", …)`: what this scenario saw of the shared server."""
    return partial(javascript.run, url=server.url, key=key)


@pytest.fixture(params=["sse", "websocket"])
def stream(request: pytest.FixtureRequest, run: Any) -> Any:
    """`run` for what streams, over both transports."""
    return partial(run, transport=request.param)


def texts(messages: list[Any]) -> list[str]:
    return [message["content"] for message in messages]


def test_the_lock_file_names_no_host() -> None:
    assert "://" not in (FOLDER / "package-lock.json").read_text()


def test_threads_are_made_changed_found_copied_and_deleted(run: Any) -> None:
    saw = run("classic.threads")
    [found] = saw["found"]
    assert found["thread_id"] == saw["made"]["thread_id"]
    assert found["metadata"]["mood"] == "fine"
    assert texts(saw["values"]["messages"]) == ["hello", "echo: hello"]
    assert texts(saw["state"]["values"]["messages"]) == ["hello", "echo: hello", "and now?"]
    assert saw["history"][0] == saw["state"]
    assert saw["copied"]["topic"] == "weather"
    assert [one["status"] for one in saw["runs"]] == ["success"]
    assert saw["deleted"] == 404


def test_a_run_is_streamed_and_joined(run: Any) -> None:
    saw = run("classic.stream")
    pieces = [data[0]["content"] for event, data in saw["streamed"] if event == "messages"]
    assert [piece for piece in pieces if piece] == [f"word{number} " for number in range(5)]
    assert saw["streamed"][-1][0] == "end"
    assert saw["joined"] == saw["streamed"]
    assert saw["run"]["status"] == "success"


def test_a_thread_is_joined_while_it_runs(run: Any) -> None:
    saw = run("classic.join")
    assert saw["values"]["steps"] == [0, 1, 2, 3, 4]
    assert saw["ofThread"][0][0] == "metadata"
    shown = [data["steps"] for event, data in saw["ofThread"] if event == "values"]
    assert shown == [list(range(count)) for count in range(6)]
    assert [data["steps"] for event, data in saw["ofRun"] if event == "values"] == shown


def test_a_question_is_answered(run: Any) -> None:
    saw = run("classic.resume")
    assert saw["waiting"]["status"] == "interrupted"
    assert saw["asked"]["__interrupt__"][0]["value"]["question"] == "May I?"
    assert saw["answered"]["answer"] == "yes"


def test_a_run_is_cancelled(run: Any) -> None:
    saw = run("classic.cancel")
    assert saw["run"]["status"] == "interrupted"
    assert saw["thread"]["status"] == "interrupted"


def test_values_and_words_are_streamed(stream: Any) -> None:
    saw = stream("protocol.tokens")
    words = [f"word{number} " for number in range(5)]
    # Before the replay, the state as it is when the client comes.
    assert [len(values["messages"]) for values in saw["values"]][-2:] == [1, 2]
    assert saw["messages"] == [{"pieces": words, "whole": "".join(words)}]
    assert saw["output"] == saw["values"][-1]


def test_tools_are_called(stream: Any) -> None:
    # The SDK yields a call when it begins, and again when it ends.
    calls = {call["name"]: call for call in stream("protocol.tools")["calls"]}
    assert list(calls.values()) == [
        {"name": "look_up", "input": {"place": "Rome"}, "output": "sunny in Rome"},
        {"name": "fail_at", "input": {"place": "Mars"}, "output": "nobody has been to Mars"},
    ]


def test_subgraphs_are_discovered(stream: Any) -> None:
    assert stream("protocol.subgraphs") == [
        {"name": "child", "said": ["from the child", "from the leaf"], "below": ["leaf"]}
    ]


def test_extensions_are_streamed(stream: Any) -> None:
    saw = stream("protocol.extensions")
    assert saw["progress"] == [{"done": 2}]
    assert saw["counts"] == [{"count": count} for count in range(1, 7)]
    assert saw["last"] == saw["counts"][-1]


def test_an_interrupt_is_responded_to_once(stream: Any) -> None:
    saw = stream("protocol.respond")
    assert saw["interrupted"]
    [asked] = saw["asked"]
    assert asked["payload"]["question"] == "May I?"
    assert asked["namespace"] == []
    assert saw["stranger"] == saw["again"] == "no_such_interrupt"
    assert saw["ends"] == ["interrupted", "completed"]
    assert saw["state"]["values"]["answer"] == "yes"


def test_who_watches_a_run_sees_that_it_is_cancelled(stream: Any) -> None:
    end = stream("protocol.cancel")
    assert end == {"event": "failed", "graph_name": "slow", "error": "The run was cancelled."}


def test_state_is_looked_at_and_forked(stream: Any) -> None:
    saw = stream("protocol.commands")
    assert saw["missing"] == "no_such_run"
    assert saw["stranger"] == "no_such_checkpoint"
    tree = saw["tree"]["tree"]
    assert (tree["namespace"], tree["graph_name"], tree["status"]) == ([], "custom", "completed")
    assert [child["graph_name"] for child in tree["children"]] == ["child"]
    assert texts(saw["state"]["values"]["messages"]) == ["hello", "echo: hello"]
    assert [checkpoint["step"] for checkpoint in saw["checkpoints"]["checkpoints"]] == [2, 1, 0, -1]
    assert saw["forked"]
    assert texts(saw["after"]["values"]["messages"]) == ["hello", "echo: hello", "more"]


def test_a_message_is_injected_into_a_run(stream: Any) -> None:
    saw = stream("protocol.inject")
    assert saw["ends"] == ["completed", "completed"]
    assert texts(saw["values"]["messages"]) == ["hello", "more"]
    assert saw["values"]["steps"] == [0, 1, 2, 3, 4] * 2


@pytest.mark.parametrize("seed", range(2))
def test_a_broken_stream_is_the_whole_stream(stream: Any, seed: int) -> None:
    saw = stream("protocol.cuts", seed=seed)
    assert saw["cuts"] > 2
    broken = [event for event in saw["broken"] if not event["event_id"].startswith("state.")]
    assert len(broken) > 100
    assert broken == [event for event in saw["whole"] if not event["event_id"].startswith("state.")]
