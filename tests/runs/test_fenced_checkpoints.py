"""The checkpointer's fence: of the attempts on a thread only the latest writes, whatever the earlier ones still try."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import Checkpoint, create_checkpoint, empty_checkpoint
from langgraph.graph import START, MessagesState, StateGraph

from runs.engine.checkpoints import WRITER_KEY, FencedSqliteSaver, StaleAttempt, Writer, open_saver

FIRST, SECOND = Writer("thread", 1, 1), Writer("thread", 1, 2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints.sqlite3"


@pytest.fixture
async def saver(path: Path) -> AsyncIterator[FencedSqliteSaver]:
    async with open_saver(path) as saver:
        yield saver


def config(writer: Writer, **configurable: Any) -> RunnableConfig:
    return {
        "configurable": {"thread_id": writer.thread_id, "checkpoint_ns": "", WRITER_KEY: writer, **configurable},
        "metadata": {"run_id": f"run-{writer.position}"},
    }


def checkpoint(step: int = 0, **values: Any) -> Checkpoint:
    made = create_checkpoint(empty_checkpoint(), None, step)
    return {**made, "channel_values": values, "channel_versions": dict.fromkeys(values, "1")}


async def put(saver: FencedSqliteSaver, writer: Writer, step: int = 0, **values: Any) -> RunnableConfig:
    made = checkpoint(step, **values)
    return await saver.aput(config(writer), made, {"source": "loop", "step": step}, made["channel_versions"])


async def steps(saver: FencedSqliteSaver, thread_id: str = "thread") -> list[int]:
    """The steps of a thread's checkpoints, newest first."""
    return [found.metadata["step"] async for found in saver.alist({"configurable": {"thread_id": thread_id}})]


def rows(path: Path) -> dict[str, int]:
    connection = sqlite3.connect(path)
    try:
        return {
            table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("checkpoints", "writes", "fences")
        }
    finally:
        connection.close()


async def test_what_is_put_is_got_and_listed(saver: FencedSqliteSaver) -> None:
    await saver.raise_fence(FIRST)
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


async def test_the_writer_is_not_stored(saver: FencedSqliteSaver, path: Path) -> None:
    await saver.raise_fence(FIRST)
    await put(saver, FIRST, topic="a")
    latest = await saver.aget_tuple({"configurable": {"thread_id": "thread"}})
    assert latest is not None and WRITER_KEY not in latest.config["configurable"]
    assert latest.metadata["run_id"] == "run-1" and WRITER_KEY not in latest.metadata


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (Writer("thread", 1, 1), Writer("thread", 1, 2)),
        (Writer("thread", 1, 9), Writer("thread", 2, 1)),
        (Writer("thread", 9, 1), Writer("thread", 10, 1)),
    ],
)
async def test_an_earlier_attempt_writes_nothing_after_a_later_one_came(
    saver: FencedSqliteSaver, path: Path, earlier: Writer, later: Writer
) -> None:
    await saver.raise_fence(earlier)
    await put(saver, earlier)
    await saver.raise_fence(later)
    before = rows(path)
    with pytest.raises(StaleAttempt):
        await put(saver, earlier, 1)
    with pytest.raises(StaleAttempt):
        await saver.aput_writes(config(earlier, checkpoint_id="c"), [("a", 1)], "task")
    with pytest.raises(StaleAttempt):
        await saver.raise_fence(earlier)
    assert rows(path) == before
    await put(saver, later, 2)
    assert await steps(saver) == [2, 0]


async def test_an_attempt_raises_its_fence_as_often_as_it_likes(saver: FencedSqliteSaver) -> None:
    for _ in range(2):
        await saver.raise_fence(FIRST)
        await put(saver, FIRST)


async def test_who_raised_no_fence_writes_nothing(saver: FencedSqliteSaver, path: Path) -> None:
    with pytest.raises(StaleAttempt):
        await put(saver, FIRST)
    await saver.raise_fence(FIRST)
    with pytest.raises(StaleAttempt):
        await put(saver, SECOND)
    with pytest.raises(KeyError):
        await saver.aput({"configurable": {"thread_id": "thread", "checkpoint_ns": ""}}, checkpoint(), {}, {})
    assert rows(path)["checkpoints"] == 0


async def test_a_fence_is_its_threads_own(saver: FencedSqliteSaver) -> None:
    other = Writer("other", 5, 5)
    for writer in (other, FIRST):
        await saver.raise_fence(writer)
    for writer in (other, FIRST):
        await put(saver, writer)
        assert await steps(saver, writer.thread_id) == [0]


async def test_the_fence_holds_between_processes_and_within_a_pending_write(
    saver: FencedSqliteSaver, path: Path
) -> None:
    """The write of the first is on its way, held up by another process, when the second raises its fence there."""
    await saver.raise_fence(FIRST)
    await put(saver, FIRST)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    pending = [
        asyncio.create_task(put(saver, FIRST, 1)),
        asyncio.create_task(saver.aput_writes(config(FIRST, checkpoint_id="c"), [("a", 1)], "task")),
    ]
    await asyncio.sleep(0)
    other.execute("UPDATE fences SET attempt = 2")
    other.execute("COMMIT")
    other.close()
    assert [type(result) for result in await asyncio.gather(*pending, return_exceptions=True)] == [StaleAttempt] * 2
    assert rows(path) == {"checkpoints": 1, "writes": 0, "fences": 1}


async def test_writes_of_many_threads_stand_and_fall_alone(saver: FencedSqliteSaver, path: Path) -> None:
    writers = [Writer(f"thread-{number}", 1, 1) for number in range(20)]
    for writer in writers:
        await saver.raise_fence(writer)
    for writer in writers[::2]:
        await saver.raise_fence(writer._replace(attempt=2))
    results = await asyncio.gather(*(put(saver, writer) for writer in writers), return_exceptions=True)
    assert [isinstance(result, StaleAttempt) for result in results] == [True, False] * 10
    assert rows(path)["checkpoints"] == 10


async def test_a_value_that_can_not_be_stored_harms_its_own_write_only(saver: FencedSqliteSaver, path: Path) -> None:
    other = Writer("other", 1, 1)
    for writer in (FIRST, other):
        await saver.raise_fence(writer)
    bad, good = await asyncio.gather(
        put(saver, FIRST, 0, value=lambda: None), put(saver, other), return_exceptions=True
    )
    assert isinstance(bad, TypeError) and isinstance(good, dict)
    assert rows(path)["checkpoints"] == 1


async def test_a_write_that_nobody_waits_for_any_more_stops_nobody(saver: FencedSqliteSaver, path: Path) -> None:
    await saver.raise_fence(FIRST)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writing = [asyncio.create_task(put(saver, FIRST, step)) for step in range(4)]
    await asyncio.sleep(0)
    for task in writing[:3]:
        task.cancel()
    other.execute("ROLLBACK")
    other.close()
    async with asyncio.timeout(5):
        *cancelled, last = await asyncio.gather(*writing, return_exceptions=True)
        await put(saver, FIRST, 99)
    assert all(isinstance(result, asyncio.CancelledError) for result in cancelled)
    assert isinstance(last, dict) and (await steps(saver))[:2] == [99, 3]


async def test_what_fails_half_way_is_undone(saver: FencedSqliteSaver, path: Path) -> None:
    def fail(store: Any) -> None:
        store.conn.execute("INSERT INTO fences VALUES ('half', 1, 1)")
        raise ZeroDivisionError

    failing = asyncio.wrap_future(saver._pen.submit(fail))
    await asyncio.gather(failing, saver.raise_fence(FIRST), return_exceptions=True)
    assert isinstance(failing.exception(), ZeroDivisionError)
    assert rows(path)["fences"] == 1


async def test_what_was_handed_in_is_written_at_the_end(path: Path) -> None:
    async with open_saver(path) as saver:
        await saver.raise_fence(FIRST)
        writing = [asyncio.create_task(put(saver, FIRST, step)) for step in range(5)]
        await asyncio.sleep(0)
    await asyncio.gather(*writing)
    assert rows(path)["checkpoints"] == 5


async def test_a_purged_thread_is_gone_and_takes_no_more_writes(saver: FencedSqliteSaver, path: Path) -> None:
    other = Writer("other", 1, 1)
    for writer in (FIRST, other):
        await saver.raise_fence(writer)
        await put(saver, writer)
        await saver.aput_writes(config(writer, checkpoint_id="c"), [("a", 1)], "task")
    await saver.purge("thread")
    assert rows(path) == {"checkpoints": 1, "writes": 1, "fences": 1}
    with pytest.raises(StaleAttempt):
        await put(saver, FIRST)
    assert await steps(saver) == [] and await steps(saver, "other") == [0]


async def test_engines_that_start_at_once_make_one_file(path: Path) -> None:
    def open_and_close() -> None:
        FencedSqliteSaver(path).close()

    await asyncio.gather(*(asyncio.to_thread(open_and_close) for _ in range(6)))
    assert rows(path) == {"checkpoints": 0, "writes": 0, "fences": 0}


async def test_a_graph_goes_on_from_its_checkpoints_through_the_fence(saver: FencedSqliteSaver) -> None:
    async def say(state: MessagesState) -> dict[str, Any]:
        return {"messages": [("ai", f"{len(state['messages'])} so far")]}

    graph = StateGraph(MessagesState).add_node("say", say).add_edge(START, "say").compile(checkpointer=saver)
    for position in (1, 2):
        writer = Writer("thread", position, 1)
        await saver.raise_fence(writer)
        await graph.ainvoke({"messages": [("user", "hi")]}, config(writer))
    state = await graph.aget_state({"configurable": {"thread_id": "thread"}})
    assert [message.text for message in state.values["messages"]] == ["hi", "1 so far", "hi", "3 so far"]
    history = [found async for found in graph.aget_state_history({"configurable": {"thread_id": "thread"}})]
    assert len(history) == 6
    with pytest.raises(StaleAttempt):
        await graph.ainvoke({"messages": [("user", "late")]}, config(Writer("thread", 1, 1)))


async def test_the_first_attempt_on_a_thread_sees_what_it_wrote(saver: FencedSqliteSaver) -> None:
    await saver.raise_fence(FIRST)
    assert await saver.aget_tuple(config(FIRST)) is None
    await put(saver, FIRST, topic="a")
    latest = await saver.aget_tuple(config(FIRST))
    assert latest is not None and latest.checkpoint["channel_values"] == {"topic": "a"}
