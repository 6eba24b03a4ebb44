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
