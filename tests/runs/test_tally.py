"""What a run's counters are, after which calls and messages."""

import pytest

from runs.models import Run
from runs.tally import COLUMNS, QUOTE_LENGTH, Tally, Usage


def used(total: int, *, sent: int = 0, received: int = 0, cached: int = 0) -> Usage:
    return Usage(input_tokens=sent, output_tokens=received, total_tokens=total, cache_read_tokens=cached)


def test_buckets_sum_to_the_total() -> None:
    tally = Tally()
    for caller in ("lead_agent", "subagent:search", "middleware:title", "somebody"):
        tally = tally.with_call(used(10, sent=7, received=3), caller=caller, model="m")
    assert (tally.lead_agent_tokens, tally.subagent_tokens, tally.middleware_tokens) == (20, 10, 10)
    assert (tally.total_tokens, tally.total_input_tokens, tally.total_output_tokens) == (40, 28, 12)
    assert tally.llm_call_count == 4


def test_each_model_is_counted_for_itself() -> None:
    tally = Tally()
    for model, cached in (("a", 1), ("b", 0), ("a", 2)):
        tally = tally.with_call(used(5, sent=4, received=1, cached=cached), caller="lead_agent", model=model)
    counts = {"input_tokens": 4, "output_tokens": 1, "total_tokens": 5, "cache_read_tokens": 0, "calls": 1}
    twice = {name: 2 * count for name, count in counts.items()} | {"cache_read_tokens": 3}
    assert tally.tokens_by_model == {"a": twice, "b": counts}
    assert tally.model_name == "a"


def test_the_model_that_was_asked_for_is_named() -> None:
    assert Tally(model_name="asked").with_call(used(1), caller="lead_agent", model="answered").model_name == "asked"


def test_a_call_without_usage_is_not_counted() -> None:
    tally = Tally()
    assert tally.with_call(used(0), caller="lead_agent", model="m") is tally


def test_messages_are_counted_by_kind() -> None:
    tally = Tally()
    for kind in ("system", "human", "ai", "tool"):
        tally = tally.with_message(kind, caller="lead_agent", text="x")
    assert tally.message_count == 3
    assert tally.without_message("ai").message_count == 2
    assert tally.without_message("system").message_count == 3
    assert Tally().without_message("ai").message_count == 0


def test_the_first_visible_human_message_is_quoted() -> None:
    tally = Tally().with_message("human", caller="lead_agent", text="hidden", visible=False)
    tally = tally.with_message("human", caller="lead_agent", text="a" * 3000)
    tally = tally.with_message("human", caller="lead_agent", text="later")
    assert tally.first_human_message == "a" * QUOTE_LENGTH
    assert tally.message_count == 3


@pytest.mark.parametrize(
    ("caller", "text"), [("lead_agent", ""), ("lead_agent", " \n"), ("subagent:a", "x"), ("middleware:a", "x")]
)
def test_only_what_the_lead_agent_says_is_its_last_message(caller: str, text: str) -> None:
    tally = Tally().with_message("ai", caller="lead_agent", text="b" * 3000)
    assert tally.with_message("ai", caller=caller, text=text).last_ai_message == "b" * QUOTE_LENGTH


def test_each_counter_is_a_column() -> None:
    names = {field.attname for field in Run._meta.concrete_fields}
    assert set(COLUMNS) <= names
