"""Answers to interrupts that do not wait, where the client wants to know of them."""

from typing import Any

import pytest
from langgraph_sdk.client import LangGraphClient


@pytest.fixture
async def thread_id(client: LangGraphClient) -> str:
    """A thread that waits for an answer."""
    thread_id = str((await client.threads.create())["thread_id"])
    await client.runs.wait(thread_id, "stress", input={"steps": 2, "interrupt_at": 1})
    return thread_id


async def answered(client: LangGraphClient, thread_id: str, answer: Any, *, strict: bool) -> Any:
    return await client.runs.wait(
        thread_id, "stress", command={"resume": answer}, strict_resume=strict, raise_error=False
    )


async def test_an_answer_to_an_unknown_interrupt_fails_and_changes_nothing(
    client: LangGraphClient, thread_id: str
) -> None:
    before = await client.threads.get_state(thread_id)
    values = await answered(client, thread_id, {"0" * 32: "yes"}, strict=True)
    assert values["__error__"]["error"] == "UnknownInterruptError"
    assert await client.threads.get_state(thread_id) == before


@pytest.mark.parametrize("by_id", [True, False])
async def test_an_answer_to_the_one_that_waits_is_taken(client: LangGraphClient, thread_id: str, by_id: bool) -> None:
    [interrupt] = (await client.threads.get_state(thread_id))["interrupts"]
    answer = {interrupt["id"]: "yes"} if by_id else "yes"
    assert (await answered(client, thread_id, answer, strict=True))["answers"] == ["yes"]


async def test_an_answer_is_ignored_where_nobody_asked_to_be_told(client: LangGraphClient, thread_id: str) -> None:
    values = await answered(client, thread_id, {"0" * 32: "yes"}, strict=False)
    assert "__error__" not in values and not values.get("answers")
