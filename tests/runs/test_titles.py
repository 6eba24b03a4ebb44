"""What conversations are called."""

from typing import Any

import pytest

from runs.titles import first_human, made_title, title_of


@pytest.mark.parametrize("values", [None, [], "title", {}, {"title": None}, {"title": 3}, {"title": " "}])
def test_values_without_a_title_give_none(values: Any) -> None:
    assert title_of(values) == ""


def test_a_graphs_title_is_cut_to_what_a_row_holds() -> None:
    assert title_of({"title": "x" * 300}) == "x" * 255


def test_a_title_is_one_short_line_of_a_message() -> None:
    assert made_title(" How\n are\tyou? ") == "How are you?"
    assert made_title("w" * 60) == "w" * 60
    assert made_title("w" * 61) == "w" * 59 + "…"
    assert made_title("") == ""


HIDDEN = {"role": "user", "content": "no", "additional_kwargs": {"hide_from_ui": True}}


@pytest.mark.parametrize(
    "messages",
    [
        "hello",
        {"role": "user", "content": "hello"},
        ["hello"],
        [["human", "hello"]],
        [{"type": "human", "content": "hello"}],
        [{"role": "assistant", "content": "no"}, {"role": "user", "content": [{"type": "text", "text": "hello"}]}],
        [HIDDEN, {"role": "user", "content": "no", "name": "summary"}, {"role": "user", "content": "hello"}],
    ],
)
def test_the_first_human_message_of_an_input_is_found(messages: Any) -> None:
    assert first_human({"messages": messages}) == "hello"


@pytest.mark.parametrize(
    "given",
    [None, "x", [], {}, {"messages": None}, {"messages": [1, None, {}, [], {"role": "user"}]}, {"messages": [HIDDEN]}],
)
def test_an_input_without_one_has_none(given: Any) -> None:
    assert first_human(given) == ""
