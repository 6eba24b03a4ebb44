"""What a run keeps of its graph's conversation, and what it counts, without a process or a database."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from langchain_core.language_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langgraph.graph import START, MessagesState, StateGraph

from runs.engine.conversation import Conversation
from runs.engine.meter import Meter
from runs.engine.storage import FencedSaver, SqliteDatabase, open_saver
from runs.lifecycle import Attempt, Known
from runs.records import Kept
from runs.tally import Tally, Usage
from tests.runs.test_execution import FakeJournal, attempt_of, execute

HELLO = {"messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
async def saver(tmp_path: Path) -> AsyncIterator[FencedSaver]:
    async with open_saver(SqliteDatabase(tmp_path / "checkpoints.sqlite3")) as saver:
        yield saver


@pytest.fixture
def journal() -> FakeJournal:
    return FakeJournal()


def conversation(journal: Any, **over: Any) -> Conversation:
    given = over.pop("input", HELLO)
    return Conversation(journal, replace(attempt_of(input=given), **over))


def kept(journal: FakeJournal) -> list[Kept]:
    return [record.kept for record in journal.records if record.kept]


def told(journal: FakeJournal) -> list[tuple[str, str]]:
    return [(one.kind, one.message_id) for one in kept(journal)]


def counted(journal: FakeJournal) -> Tally:
    assert journal.tally
    return journal.tally


def answering(*answers: AIMessage, **config: Any) -> Any:
    """A graph whose node asks a model for each answer, and says the last."""
    model = FakeMessagesListChatModel(responses=list(answers))

    async def say(state: MessagesState) -> dict[str, Any]:
        said = [await model.ainvoke(state["messages"], config) for _ in answers]
        return {"messages": said[-1:]}

    return StateGraph(MessagesState).add_node("say", say).add_edge(START, "say").compile()


def answer(text: str, **usage: int) -> AIMessage:
    used: Any = {"input_tokens": 2, "output_tokens": 3, "total_tokens": 5, **usage}
    return AIMessage(text, usage_metadata=used, response_metadata={"model_name": "fake"})


async def test_messages_contain_the_prompt_and_the_answer(saver: FencedSaver) -> None:
    journal = await execute(attempt_of(input=HELLO), answering(answer("hi")), saver)

    human, ai = kept(journal)
    assert (human.kind, orjson.loads(human.content)["content"]) == ("human", "hello")
    assert (ai.kind, orjson.loads(ai.content)["content"], ai.caller) == ("ai", "hi", "lead_agent")
    assert orjson.loads(ai.metadata)["usage"]["total_tokens"] == 5
    assert [orjson.loads(record.data) for record in journal.records if record.method == "message"] == [
        {"id": one.message_id, "type": one.kind} for one in (human, ai)
    ]
    tally = counted(journal)
    assert (tally.message_count, tally.llm_call_count, tally.total_tokens) == (2, 1, 5)
    assert (tally.first_human_message, tally.last_ai_message, tally.model_name) == ("hello", "hi", "fake")


async def test_what_a_graph_asks_a_model_for_itself_is_counted_and_not_kept(saver: FencedSaver) -> None:
    journal = await execute(attempt_of(input=HELLO), answering(answer("internal"), answer("hi")), saver)
    assert [orjson.loads(one.content)["content"] for one in kept(journal)] == ["hello", "hi"]
    assert counted(journal).llm_call_count == 2


@pytest.mark.parametrize(
    ("tag", "bucket"), [("subagent:search", "subagent_tokens"), ("middleware:title", "middleware_tokens")]
)
async def test_what_a_tagged_caller_is_told_is_kept_with_its_caller(saver: FencedSaver, tag: str, bucket: str) -> None:
    journal = await execute(attempt_of(input=HELLO), answering(answer("hi"), tags=[tag]), saver)
    assert [(one.kind, one.caller) for one in kept(journal)] == [("human", "lead_agent"), ("ai", tag)]
    tally = counted(journal)
    assert (getattr(tally, bucket), tally.total_tokens, tally.last_ai_message) == (5, 5, "")
    assert tally.message_count == 2


async def test_a_model_in_a_nodes_thread_is_heard_too(saver: FencedSaver) -> None:
    model = FakeMessagesListChatModel(responses=[answer("hi")])

    def say(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    graph = StateGraph(MessagesState).add_node("say", say).add_edge(START, "say").compile()
    journal = await execute(attempt_of(input=HELLO), graph, saver)
    assert (counted(journal).total_tokens, len(kept(journal))) == (5, 2)


@pytest.mark.parametrize("stream_mode", [["messages-tuple"], ["events"], []])
async def test_every_mode_counts(saver: FencedSaver, stream_mode: list[str]) -> None:
    journal = await execute(attempt_of(input=HELLO, stream_mode=stream_mode), answering(answer("hi")), saver)
    assert (counted(journal).total_tokens, len(kept(journal))) == (5, 2)


async def test_a_run_that_was_asked_something_quotes_it_though_its_graph_has_no_messages(journal: FakeJournal) -> None:
    assert conversation(journal).close().first_human_message == "hello"


async def test_a_second_run_keeps_only_what_is_new(saver: FencedSaver) -> None:
    first = attempt_of(input=HELLO)
    before = await execute(first, answering(answer("hi")), saver)
    second = replace(attempt_of(input=HELLO), position=2)
    journal = FakeJournal()
    journal.known = [Known(first.run_id, one.message_id, one.kind, datetime.now(UTC)) for one in kept(before)]
    after = await execute(second, answering(answer("hi")), saver, journal)
    assert [orjson.loads(one.content)["content"] for one in kept(after)] == ["hello", "hi"]
    assert not set(told(before)) & set(told(after))


async def test_a_message_that_the_input_names_is_kept_again(journal: FakeJournal) -> None:
    journal.known = [Known(uuid.uuid4(), name, "human", datetime.now(UTC)) for name in ("a", "b")]
    seen = conversation(journal, position=2, input={"messages": [{"role": "user", "content": "x", "id": "b"}]})
    await seen.see({"messages": [HumanMessage("a", id="a"), HumanMessage("x", id="b")]})
    assert told(journal) == [("human", "b")]


async def test_a_message_is_kept_once_and_again_when_it_changes(journal: FakeJournal) -> None:
    seen = conversation(journal)
    first = AIMessage("one", id="a")
    await seen.see({"messages": [first]})
    await seen.see({"messages": [first]})
    await seen.see({"messages": [AIMessage("one", id="a")]})
    assert told(journal) == [("ai", "a")]
    await seen.see({"messages": [AIMessage("two", id="a")]})
    assert [orjson.loads(one.content)["content"] for one in kept(journal)] == ["one", "two"]
    assert (counted(journal).message_count, counted(journal).last_ai_message) == (1, "two")


async def test_states_of_other_kinds_are_passed_over(journal: FakeJournal) -> None:
    seen = conversation(journal)
    for values in (
        None,
        3,
        [],
        {"messages": None},
        {"messages": "x"},
        {"messages": [{"role": "user"}, None, AIMessage("no id")]},
    ):
        await seen.see(values)
    assert kept(journal) == []


async def test_each_kind_of_message_has_its_name(journal: FakeJournal) -> None:
    messages = [
        SystemMessage("s", id="1"),
        HumanMessage("h", id="2"),
        AIMessageChunk("a", id="3"),
        ToolMessage("t", tool_call_id="x", id="4"),
    ]
    await conversation(journal).see({"messages": messages})
    assert told(journal) == [("system", "1"), ("human", "2"), ("ai", "3"), ("tool", "4")]
    assert counted(journal).message_count == 3


async def test_a_hidden_message_is_kept_and_not_quoted(journal: FakeJournal) -> None:
    seen = conversation(journal, input=None)
    hidden = HumanMessage("no", id="1", additional_kwargs={"hide_from_ui": True})
    await seen.see({"messages": [hidden, HumanMessage("no", id="2", name="summary"), HumanMessage("yes", id="3")]})
    assert (len(kept(journal)), counted(journal).first_human_message) == (3, "yes")


async def test_text_that_no_column_can_hold_is_cleaned(journal: FakeJournal) -> None:
    seen = conversation(journal)
    await seen.see({"messages": [HumanMessage("a\0b\ud800", id="i\0\ud800" + "x" * 300)]})
    (one,) = kept(journal)
    assert len(one.message_id) == 255 and "\0" not in one.message_id
    assert orjson.loads(one.content)["content"] == counted(journal).first_human_message == "a\ufffdb\ufffd"
    one.message_id.encode()


def known(attempt: Attempt, **moments: datetime) -> list[Known]:
    return [Known(attempt.run_id, name, "ai", moment) for name, moment in moments.items()]


async def test_a_later_attempt_counts_on_and_takes_back_what_was_lost(journal: FakeJournal) -> None:
    attempt = replace(attempt_of(input=HELLO), attempt=2, tally=Tally(message_count=3, total_tokens=9))
    now = datetime.now(UTC)
    journal.known = known(attempt, there=now, removed=now - timedelta(seconds=1), lost=now + timedelta(seconds=1))
    seen = Conversation(journal, attempt)  # type: ignore[arg-type]
    seen.resumed_from = now
    await seen.see({"messages": [AIMessage("x", id="there")]})
    assert told(journal) == [("remove", "lost")]
    await seen.see({"messages": [AIMessage("x", id="there"), AIMessage("y", id="new")]})
    assert told(journal)[1:] == [("ai", "there"), ("ai", "new")]
    assert (counted(journal).message_count, counted(journal).total_tokens) == (3, 9)


async def test_an_attempt_that_starts_over_takes_everything_back(journal: FakeJournal) -> None:
    attempt = replace(attempt_of(input=HELLO), attempt=2, tally=Tally(message_count=1))
    journal.known = known(attempt, old=datetime.now(UTC))
    await Conversation(journal, attempt).see({"messages": [HumanMessage("hello", id="new")]})  # type: ignore[arg-type]
    assert told(journal) == [("remove", "old"), ("human", "new")]
    assert counted(journal).message_count == 1


async def test_nobody_is_heard_after_the_end(journal: FakeJournal) -> None:
    seen = conversation(journal)
    seen.close()
    seen.hear(AIMessage("late", id="1"), Usage(total_tokens=5), "subagent:a", "m")
    assert kept(journal) == [] and seen.close().total_tokens == 0


def result(message: AIMessage) -> LLMResult:
    return LLMResult(generations=[[ChatGeneration(message=message)]])


def metered(*messages: AIMessage, ids: list[uuid.UUID] | None = None) -> list[Usage]:
    heard: list[Usage] = []
    meter = Meter(lambda message, usage, caller, model: heard.append(usage))
    for message, run_id in zip(messages, ids or [uuid.uuid4() for _ in messages], strict=True):
        meter.on_llm_end(result(message), run_id=run_id, tags=None)
    return heard


def test_a_call_that_is_told_twice_is_counted_once() -> None:
    assert len(metered(answer("a"), answer("a"), ids=[uuid.UUID(int=1)] * 2)) == 1


def test_a_call_without_usage_is_no_failure_and_a_missing_total_is_the_sum() -> None:
    bare = AIMessage("a")
    odd = answer("a").model_copy(
        update={"usage_metadata": {"input_tokens": None, "output_tokens": -1, "total_tokens": "x"}}
    )
    missing = answer("a").model_copy(update={"usage_metadata": {"input_tokens": 2, "output_tokens": 3}})
    assert [usage.total_tokens for usage in metered(bare, odd, missing)] == [0, 0, 5]


def test_what_was_read_from_a_cache_is_told() -> None:
    message = answer("a", input_token_details={"cache_read": 1})  # type: ignore[arg-type]
    assert metered(message)[0].cache_read_tokens == 1


@pytest.mark.parametrize("where", ["configurable", "context"])
async def test_the_model_that_the_request_names_is_the_runs(journal: FakeJournal, where: str) -> None:
    attempt = attempt_of(input=HELLO)
    named = attempt.kwargs["config"]["configurable"] if where == "configurable" else attempt.kwargs["context"]
    named["model_name"] = "asked"
    seen = Conversation(journal, attempt)  # type: ignore[arg-type]
    seen.hear(AIMessage("x"), Usage(total_tokens=5), "lead_agent", "answered")
    assert counted(journal).model_name == "asked"
