"""The built-in agent as a newcomer meets it: without any model key, and what its tools may not do."""

import logging
import re
import time
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage

from runs.builtin.calculator import CalculationError, evaluate
from runs.builtin.lead_agent import make_graph
from runs.builtin.models import chat_model
from runs.builtin.offline import OfflineChatModel, plan_reply
from runs.builtin.tools import calculate, current_time


async def ask(question: str) -> list[Any]:
    """Return what the agent added to the conversation."""
    state = await make_graph("").ainvoke({"messages": [HumanMessage(question)]})
    return list(state["messages"][1:])


async def test_it_answers_at_once_and_says_that_it_is_offline_and_how_to_change_that() -> None:
    [answer] = await ask("Tell me a story")
    assert "offline" in answer.text
    assert "DEERFLOW_MODEL" in answer.text
    assert "Tell me a story" in answer.text


async def test_it_answers_in_chinese_to_chinese() -> None:
    [answer] = await ask("讲个故事")
    assert "离线" in answer.text
    assert "DEERFLOW_MODEL" in answer.text
    assert "讲个故事" in answer.text


async def test_a_long_message_is_echoed_in_short() -> None:
    [answer] = await ask("word " * 100_000)
    assert len(answer.text) < 1000


async def test_an_answer_comes_in_words_that_make_up_the_message() -> None:
    parts, final = [], None
    stream = make_graph("").astream({"messages": [HumanMessage("hello")]}, stream_mode=["messages", "values"])
    async for mode, part in stream:
        if mode == "messages":
            parts.append(part[0])
        else:
            final = part["messages"][-1]
    assert isinstance(final, AIMessage)
    assert len(parts) > 20
    assert all(isinstance(part, AIMessageChunk) for part in parts)
    assert "".join(part.text for part in parts) == final.text
    assert {part.id for part in parts} == {final.id}


async def test_the_answer_reports_its_usage_once() -> None:
    [answer] = await ask("hello")
    usage = answer.usage_metadata
    assert usage["input_tokens"] > 0
    assert usage["output_tokens"] > 20
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert answer.response_metadata == {"model_name": "offline", "finish_reason": "stop"}


@pytest.mark.parametrize(
    ("question", "tool", "arguments"),
    [
        ("calculate 2+3*4", "calculate", {"expression": "2+3*4"}),
        ("What is (1 + 2) * 3?", "calculate", {"expression": "(1 + 2) * 3"}),
        ("-7 % 3", "calculate", {"expression": "-7 % 3"}),
        ("计算 2^10 × 3", "calculate", {"expression": "2^10 × 3"}),  # noqa: RUF001
        ("\uff11\uff0b\uff11\uff1d\uff1f", "calculate", {"expression": "1+1"}),
        ("what time is it", "current_time", {"timezone": "UTC"}),
        ("What's the time in Asia/Kolkata?", "current_time", {"timezone": "Asia/Kolkata"}),
        ("What time is it in New York?", "current_time", {"timezone": "America/New_York"}),
        ("北京现在几点？", "current_time", {"timezone": "Asia/Shanghai"}),
    ],
)
async def test_it_calls_the_tool_that_is_asked_for_and_tells_its_result(
    question: str, tool: str, arguments: dict[str, str]
) -> None:
    call, result, answer = await ask(question)
    assert [(made["name"], made["args"]) for made in call.tool_calls] == [(tool, arguments)]
    assert call.response_metadata["finish_reason"] == "tool_calls"
    assert isinstance(result, ToolMessage)
    assert result.tool_call_id == call.tool_calls[0]["id"]
    assert result.text in answer.text


async def test_it_calls_both_tools_at_once() -> None:
    call, _, _, answer = await ask("what time is it in Tokyo, and what is 6*7?")
    assert [made["name"] for made in call.tool_calls] == ["current_time", "calculate"]
    assert "6*7 = 42" in answer.text


@pytest.mark.parametrize(
    "question", ["call me at 555-1234", "calculate my age", "I have no time", "", "2", "what is -"]
)
async def test_it_calls_no_tool_that_is_not_asked_for(question: str) -> None:
    [answer] = await ask(question)
    assert answer.tool_calls == []


async def test_a_call_is_streamed_in_parts_with_its_name_first() -> None:
    model = OfflineChatModel().bind_tools([calculate, current_time])
    parts = [part async for part in model.astream("calculate 1+1")]
    calls = [chunk for part in parts for chunk in part.tool_call_chunks]
    assert [call["name"] for call in calls] == ["calculate"] + [None] * (len(calls) - 1)
    assert "".join(call["args"] for call in calls) == '{"expression": "1+1"}'


def test_it_calls_only_tools_that_it_was_given() -> None:
    assert plan_reply([HumanMessage("calculate 1+1")], ["current_time"]).calls == []


def test_it_works_without_an_event_loop_too() -> None:
    state = make_graph("").invoke({"messages": [HumanMessage("calculate 1+1")]})
    assert "1+1 = 2" in state["messages"][-1].text
    assert "offline" in chat_model("").invoke("hello").text


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2+3*4", 14),
        ("-(2 ** 3) // 3", -3),
        ("10 / 4", 2.5),
        ("2 ^ 10", 1024),
        ("\uff08\uff11+2\uff09\u00d73", 9),
        ("2 ** -1", 0.5),
        ("2 ** 4000 % 10", 6),
        ("9.5 % 2", 1.5),
    ],
)
def test_arithmetic(expression: str, value: float) -> None:
    assert evaluate(expression) == value


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("9**9**9", "too large"),
        ("9**9**9**9", "too large"),
        ("(2**4000)*(2**4000)", "too large"),
        ("10.0**400", "too large"),
        ("1e308*10", "too large"),
        ("(2**4000) / 3", "too large"),
        ("2 ** -(10**300)", "too large"),
        ("1/0", "division by zero"),
        ("5 % 0", "division by zero"),
        ("(-8) ** 0.5", "not a real number"),
        ("1" * 201, "longer than 200"),
        ("(" * 100 + "1", "not arithmetic"),
        ("__import__('os').getcwd()", "not arithmetic"),
        ("'a' * 10", "not arithmetic"),
        ("True + 1", "not arithmetic"),
        ("2j", "not arithmetic"),
        ("1 << 100", "not arithmetic"),
        ("x", "not arithmetic"),
        ("1\x00", "not arithmetic"),
        ("\ud800", "not arithmetic"),
        ("", "not arithmetic"),
    ],
)
def test_what_is_not_arithmetic_or_too_large_is_refused_quickly(expression: str, reason: str) -> None:
    started = time.monotonic()
    with pytest.raises(CalculationError, match=reason):
        evaluate(expression)
    assert time.monotonic() - started < 1
    assert reason in calculate.invoke({"expression": expression})


def test_the_time_is_told_in_a_zone() -> None:
    told = current_time.invoke({"timezone": "Asia/Kolkata"})
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d Asia/Kolkata \(UTC\+05:30\)", told)
    assert current_time.invoke({}).endswith(" UTC (UTC+00:00)")


@pytest.mark.parametrize("zone", ["Nowhere/Town", "../../etc/passwd", "/etc/passwd", "Asia", "", "a\0b", "\ud800"])
def test_an_unknown_zone_is_answered_with_a_sentence(zone: str) -> None:
    assert current_time.invoke({"timezone": zone}).startswith("There is no such time zone")


def test_no_offline_answer_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "runs"):
        make_graph("").invoke({"messages": [HumanMessage("my secret")]})
    assert caplog.text == ""
