"""Checkpoints in each database: of the attempts on a thread only the latest writes, whatever the others still try."""

import asyncio
import contextlib
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.graph import START, MessagesState, StateGraph

from runs.engine.storage import WRITER_KEY, FencedSaver, StaleAttempt, Writer, open_saver
from runs.engine.storage.database import Session
from tests.contracts.benches import Bench, attempt_of
from tests.contracts.written import FIRST, SECOND, checkpoint, config, put, steps

pytestmark = pytest.mark.django_db(transaction=True)


async def test_what_is_put_is_got_and_listed(bench: Bench, saver: FencedSaver) -> None:
    await bench.begin(saver, FIRST)
    first = await put(saver, FIRST, 0, topic="a")
    second = await put(saver, FIRST, 1, messages=[HumanMessage("hi", id="m")])
    await saver.aput_writes(
        {**second, "configurable": {**config(FIRST)["configurable"], **second["configurable"]}},
        [("messages", "x"), ("topic", None)],
        "task",
    )
    latest = await saver.aget_tuple({"configurable": {"thread_id": "thread"}})
    assert latest is not None
    assert latest.checkpoint["channel_values"] == {"messages": [HumanMessage("hi", id="m")]}
    assert latest.pending_writes == [("task", "messages", "x"), ("task", "topic", None)]
    earlier = await saver.aget_tuple(first)
    assert earlier is not None and earlier.checkpoint["channel_values"] == {"topic": "a"}
    assert await steps(saver) == [1, 0]
    assert await saver.aget_tuple({"configurable": {"thread_id": "other"}}) is None


async def test_the_writer_is_not_stored(bench: Bench, saver: FencedSaver) -> None:
    await bench.begin(saver, FIRST)
    await put(saver, FIRST, topic="a")
    latest = await saver.aget_tuple({"configurable": {"thread_id": "thread"}})
    assert latest is not None and WRITER_KEY not in latest.config["configurable"]
    assert latest.metadata["run_id"] == "run-1" and WRITER_KEY not in latest.metadata


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (attempt_of(1, 1), attempt_of(1, 2)),
        (attempt_of(1, 9), attempt_of(2, 1)),
        (attempt_of(9, 1), attempt_of(10, 1)),
    ],
)
async def test_an_earlier_attempt_writes_nothing_after_a_later_one_came(
    bench: Bench, saver: FencedSaver, earlier: Writer, later: Writer
) -> None:
    await bench.begin(saver, earlier)
    await put(saver, earlier)
    await bench.begin(saver, later)
    before = bench.rows()
    with contextlib.suppress(StaleAttempt):
        await saver.raise_fence(earlier)
    with pytest.raises(StaleAttempt):
        await put(saver, earlier, 1)
    with pytest.raises(StaleAttempt):
        await saver.aput_writes(config(earlier, checkpoint_id="c"), [("a", 1)], "task")
    assert bench.rows() == before
    await put(saver, later, 2)
    assert await steps(saver) == [2, 0]


async def test_an_attempt_raises_its_fence_as_often_as_it_likes(bench: Bench, saver: FencedSaver) -> None:
    for _ in range(2):
        await bench.begin(saver, FIRST)
        await put(saver, FIRST)


async def test_whose_turn_it_is_not_writes_nothing(bench: Bench, saver: FencedSaver) -> None:
    with pytest.raises(StaleAttempt):
        await put(saver, FIRST)
    await bench.begin(saver, FIRST)
    with pytest.raises(StaleAttempt):
        await put(saver, SECOND)
    with pytest.raises(KeyError):
        await saver.aput({"configurable": {"thread_id": "thread", "checkpoint_ns": ""}}, checkpoint(), {}, {})
    assert bench.rows()["checkpoints"] == 0


async def test_a_fence_is_its_threads_own(bench: Bench, saver: FencedSaver) -> None:
    other = attempt_of(5, 5, "other")
    for writer in (other, FIRST):
        await bench.begin(saver, writer)
    for writer in (other, FIRST):
        await put(saver, writer)
        assert await steps(saver, writer.thread_id) == [0]


async def test_the_fence_holds_between_processes_and_within_a_pending_write(bench: Bench, saver: FencedSaver) -> None:
    """The write of the first is on its way, held up by another process, when the second takes over there."""
    await bench.begin(saver, FIRST)
    await put(saver, FIRST)
    with bench.another_claims(SECOND):
        pending = [
            asyncio.create_task(put(saver, FIRST, 1)),
            asyncio.create_task(saver.aput_writes(config(FIRST, checkpoint_id="c"), [("a", 1)], "task")),
        ]
        await asyncio.sleep(0)
    assert [type(result) for result in await asyncio.gather(*pending, return_exceptions=True)] == [StaleAttempt] * 2
    assert bench.rows() == {"checkpoints": 1, "writes": 0}


async def test_writes_of_many_threads_stand_and_fall_alone(bench: Bench, saver: FencedSaver) -> None:
    writers = [attempt_of(1, 1, f"thread-{number}") for number in range(20)]
    for writer in writers:
        await bench.begin(saver, writer)
    for number in range(0, 20, 2):
        await bench.begin(saver, attempt_of(1, 2, f"thread-{number}"))
    results = await asyncio.gather(*(put(saver, writer) for writer in writers), return_exceptions=True)
    assert [isinstance(result, StaleAttempt) for result in results] == [True, False] * 10
    assert bench.rows()["checkpoints"] == 10


async def test_a_value_that_can_not_be_stored_harms_its_own_write_only(bench: Bench, saver: FencedSaver) -> None:
    other = attempt_of(1, 1, "other")
    for writer in (FIRST, other):
        await bench.begin(saver, writer)
    bad, good = await asyncio.gather(
        put(saver, FIRST, 0, value=lambda: None), put(saver, other), return_exceptions=True
    )
    assert isinstance(bad, TypeError) and isinstance(good, dict)
    assert bench.rows()["checkpoints"] == 1


async def test_a_write_that_nobody_waits_for_any_more_stops_nobody(bench: Bench, saver: FencedSaver) -> None:
    await bench.begin(saver, FIRST)
    with bench.held_up():
        writing = [asyncio.create_task(put(saver, FIRST, step)) for step in range(4)]
        await asyncio.sleep(0)
        for task in writing[:3]:
            task.cancel()
    async with asyncio.timeout(5):
        *cancelled, last = await asyncio.gather(*writing, return_exceptions=True)
        await put(saver, FIRST, 99)
    assert all(isinstance(result, asyncio.CancelledError) for result in cancelled)
    assert isinstance(last, dict) and (await steps(saver))[:2] == [99, 3]


async def test_what_fails_half_way_is_undone(bench: Bench, saver: FencedSaver) -> None:
    await bench.begin(saver, FIRST)

    def fail(session: Session) -> None:
        config = {"configurable": {"thread_id": "half", "checkpoint_ns": ""}}
        session.saver.put(config, checkpoint(), {}, {})
        raise ZeroDivisionError

    failing = asyncio.wrap_future(saver.pen.submit(fail))
    await asyncio.gather(failing, put(saver, FIRST), return_exceptions=True)
    assert isinstance(failing.exception(), ZeroDivisionError)
    assert bench.rows()["checkpoints"] == 1


async def test_what_was_handed_in_is_written_at_the_end(bench: Bench) -> None:
    async with open_saver(bench.database) as saver:
        await bench.begin(saver, FIRST)
        writing = [asyncio.create_task(put(saver, FIRST, step)) for step in range(5)]
        await asyncio.sleep(0)
    await asyncio.gather(*writing)
    assert bench.rows()["checkpoints"] == 5


async def test_a_purged_thread_is_gone_and_takes_no_more_writes(bench: Bench, saver: FencedSaver) -> None:
    other = attempt_of(1, 1, "other")
    for writer in (FIRST, other):
        await bench.begin(saver, writer)
        await put(saver, writer)
        await saver.aput_writes(config(writer, checkpoint_id="c"), [("a", 1)], "task")
    await bench.deleted("thread")
    await saver.purge("thread")
    assert bench.rows() == {"checkpoints": 1, "writes": 1}
    with pytest.raises(StaleAttempt):
        await put(saver, FIRST)
    assert await steps(saver) == [] and await steps(saver, "other") == [0]


async def test_engines_that_start_at_once_set_it_up_once(bench: Bench) -> None:
    await asyncio.gather(*(asyncio.to_thread(bench.database.setup) for _ in range(6)))
    assert bench.rows() == {"checkpoints": 0, "writes": 0}


@pytest.mark.parametrize(
    "value", ["a\0b", "\ud800", float("nan"), float("-inf"), "ä\u2028", 2**63 - 1, True, None, 1.5]
)
async def test_a_plain_value_comes_back_as_it_was(bench: Bench, saver: FencedSaver, value: Any) -> None:
    await bench.begin(saver, FIRST)
    await put(saver, FIRST, value=value)
    found = await saver.aget_tuple({"configurable": {"thread_id": "thread"}})
    assert found is not None
    wanted = "?" if value == "\ud800" else value
    assert repr(found.checkpoint["channel_values"]["value"]) == repr(wanted)


async def test_an_integer_that_no_message_can_hold_is_refused(bench: Bench, saver: FencedSaver) -> None:
    await bench.begin(saver, FIRST)
    with pytest.raises(TypeError, match="64-bit"):
        await put(saver, FIRST, value=2**70)
    assert bench.rows()["checkpoints"] == 0


async def test_a_change_of_state_writes_until_a_later_turn_is_taken(bench: Bench, saver: FencedSaver) -> None:
    change, later = Writer("thread", 1, 1), Writer("thread", 2, 1)
    await bench.turn_taken(change)
    await saver.raise_fence(change)
    await put(saver, change, 0)
    await bench.turn_taken(later)
    await saver.raise_fence(later)
    with pytest.raises(StaleAttempt):
        await put(saver, change, 1)
    await put(saver, later, 2)
    assert await steps(saver) == [2, 0]


async def test_a_graph_goes_on_from_its_checkpoints_through_the_fence(bench: Bench, saver: FencedSaver) -> None:
    async def say(state: MessagesState) -> dict[str, Any]:
        return {"messages": [("ai", f"{len(state['messages'])} so far")]}

    graph = StateGraph(MessagesState).add_node("say", say).add_edge(START, "say").compile(checkpointer=saver)
    for position in (1, 2):
        writer = attempt_of(position, 1)
        await bench.begin(saver, writer)
        await graph.ainvoke({"messages": [("user", "hi")]}, config(writer))
    state = await graph.aget_state({"configurable": {"thread_id": "thread"}})
    assert [message.text for message in state.values["messages"]] == ["hi", "1 so far", "hi", "3 so far"]
    history = [found async for found in graph.aget_state_history({"configurable": {"thread_id": "thread"}})]
    assert len(history) == 6
    with pytest.raises(StaleAttempt):
        await graph.ainvoke({"messages": [("user", "late")]}, config(attempt_of(1, 1)))


async def test_the_first_attempt_on_a_thread_sees_what_it_wrote(bench: Bench, saver: FencedSaver) -> None:
    await bench.begin(saver, FIRST)
    assert await saver.aget_tuple(config(FIRST)) is None
    await put(saver, FIRST, topic="a")
    latest = await saver.aget_tuple(config(FIRST))
    assert latest is not None and latest.checkpoint["channel_values"] == {"topic": "a"}
