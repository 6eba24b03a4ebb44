"""What a run that was started by the Agent Streaming Protocol records, graph by graph."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from runs.engine.execution import Ended, Execution, Reason
from runs.engine.graphs import Registry
from runs.engine.storage import FencedSaver, SqliteDatabase, open_saver
from runs.records import Record
from runs.states import RunStatus
from tests.runs.protocol_runs import ASKED, Reader, loaded_graphs, nodes, of, told
from tests.runs.test_execution import FakeJournal, attempt_of


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    with loaded_graphs() as registry:
        yield registry


@pytest.fixture
async def saver(tmp_path: Path) -> AsyncIterator[FencedSaver]:
    async with open_saver(SqliteDatabase(tmp_path / "checkpoints.sqlite3")) as saver:
        yield saver


class Runs:
    """Executes runs of one thread, one after the other."""

    def __init__(self, registry: Registry, saver: FencedSaver) -> None:
        self._registry, self._saver = registry, saver
        self.journal = FakeJournal()

    def prepare(self, graph_id: str, **over: Any) -> Execution:
        kwargs = {"input": ASKED, "event_streaming": True, "subgraphs": True, "graph_id": graph_id, **over}
        configurable = kwargs.pop("configurable", {})
        attempt = attempt_of(**kwargs)
        attempt.kwargs["config"]["configurable"].update(configurable)
        self.journal = FakeJournal()
        object.__setattr__(attempt, "graph_id", graph_id)
        return Execution(attempt, self.journal, self._registry, self._saver)

    async def __call__(self, graph_id: str, **over: Any) -> list[Record]:
        assert await self.prepare(graph_id, **over).run() is Ended.SETTLED
        return self.journal.records


@pytest.fixture
def run(registry: Registry, saver: FencedSaver) -> Runs:
    return Runs(registry, saver)


ALL = [
    "deep",
    "asking_deep",
    "tooled",
    "tool_fails",
    "delegating",
    "parallel",
    "thinking",
    "direct",
    "recovering",
]


@pytest.mark.parametrize("graph_id", [*ALL, "named", "extended", "extended_agent", "echo", "custom"])
async def test_only_what_has_a_meaning_is_recorded(run: Runs, graph_id: str) -> None:
    methods = {method.partition(":")[0] for method, _, _ in told(await run(graph_id))}
    assert methods <= {
        *("values", "updates", "custom", "tasks", "checkpoint", "block", "tool", "lifecycle", "input.requested"),
    }
    assert {"values", "checkpoint", "tasks"} <= methods


@pytest.mark.parametrize("graph_id", ALL)
async def test_a_checkpoint_comes_right_before_its_values(run: Runs, graph_id: str) -> None:
    records = [(record.method, record.namespace, orjson.loads(record.data)) for record in await run(graph_id)]
    for (method, namespace, data), then in pairwise(r for r in records if r[0] in ("checkpoint", "values")):
        # The one of the input has no values; what asks has no checkpoint.
        if method == "checkpoint" and data["source"] != "input":
            assert then[:2] == ("values", namespace)
    where = [index for index, (method, _, _) in enumerate(records) if method == "values"]
    alone = [index for index in where if records[index - 1][:2] != ("checkpoint", records[index][1])]
    assert all("__interrupt__" in records[index][2] for index in alone)


async def test_a_checkpoint_is_told_by_what_identifies_it(run: Runs) -> None:
    checkpoints = [data for _, data in of(await run("echo"), "checkpoint")]
    assert [(one["step"], one["source"]) for one in checkpoints] == [(-1, "input"), (0, "loop"), (1, "loop")]
    assert "parent_id" not in checkpoints[0]
    assert all(then["parent_id"] == one["id"] for one, then in pairwise(checkpoints))


async def test_messages_are_told_where_they_are_said(run: Runs) -> None:
    read = Reader().take(await run("deep")).messages
    assert [(message.namespace, message.text.get()) for message in read] == [
        (["child"], "from the child"),
        (["child", "leaf"], "from the leaf"),
        ([], "from the root"),
    ]


async def test_a_message_is_told_once_and_has_the_id_that_it_has_in_the_state(run: Runs) -> None:
    records = await run("deep")
    starts = [data["id"] for _, data in of(records, "block") if data["event"] == "message-start"]
    (*_, (_, values)) = of(records, "values")
    assert starts == [message["id"] for message in values["messages"] if message["type"] == "ai"]


@pytest.mark.parametrize("graph_id", ["deep", "thinking", "echo", "recovering", "extended"])
async def test_every_event_of_a_message_says_whose_it_is(run: Runs, graph_id: str) -> None:
    message_id = ""
    for _, data in of(await run(graph_id), "block"):
        message_id = data["id"] if data["event"] == "message-start" else message_id
        assert message_id and data["id"] == message_id


async def test_a_message_begins_with_what_is_known_of_it(run: Runs) -> None:
    start = of(await run("thinking", configurable={"secret": "s"}), "block")[0][1]
    assert (start["event"], start["role"]) == ("message-start", "ai")
    about = start["metadata"]
    assert about["langgraph_node"] == "think"
    assert about["provider"] == "playedmodel"
    assert "secret" not in about and not any(isinstance(value, list | dict) for value in about.values())


async def test_a_whole_message_of_a_node_is_told_as_a_whole(run: Runs) -> None:
    (message,) = Reader().take(await run("echo")).messages
    assert (message.text.get(), message.done) == ("echo: hello", True)


async def test_thoughts_texts_and_calls_are_blocks_of_their_own(run: Runs) -> None:
    records = await run("thinking")
    (message,) = Reader().take(records).messages
    assert (message.reasoning.get(), message.text.get()) == ("Let me think.", "I will look.")
    assert [(call["name"], call["args"]) for call in message.tool_calls.get()] == [("look_up", {"place": "Rome"})]
    assert message.output.usage_metadata == {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}
    borders = [data["event"] for _, data in of(records, "block") if data["event"].startswith("content-block-")]
    borders = [event for event in borders if not event.endswith("delta")]
    assert borders == ["content-block-start", "content-block-finish"] * 3


async def test_two_messages_at_once_are_told_apart(run: Runs) -> None:
    records = await run("parallel")
    read = Reader().take(records).messages
    assert sorted(message.text.get() for message in read) == ["a1 a2 a3", "b1 b2 b3"]
    order = [data["delta"]["text"][0] for _, data in of(records, "block") if "delta" in data]
    assert order != sorted(order)


async def test_words_that_a_node_streams_itself_are_told(run: Runs) -> None:
    records = await run("direct")
    read = [message.text.get() for message in Reader().take(records).messages]
    assert read == ["word by word", "word by word"]
    deltas = [data["delta"]["text"] for _, data in of(records, "block") if "delta" in data]
    assert deltas[:3] == ["word ", "by ", "word"]


async def test_a_message_whose_model_fails_ends_in_an_error(run: Runs) -> None:
    records = await run("recovering")
    ends = [data for _, data in of(records, "block") if data["event"] in ("message-start", "error", "message-finish")]
    assert [end["event"] for end in ends] == ["message-start", "error", "message-start", "message-finish"]
    assert ends[1]["message"] == "the model is gone"
    assert Reader().take(records).messages[-1].text.get() == "a whole answer"


async def test_a_message_with_which_the_run_fails_ends_in_an_error(run: Runs) -> None:
    records = await run("breaking")
    ((_, start), *_, (_, end)) = of(records, "block")
    assert end == {"node": "break", "event": "error", "message": "the model is gone", "id": start["id"]}


async def test_a_message_that_is_not_heard_out_ends_with_its_task(run: Runs) -> None:
    records = told(await run("leaving"))
    first = next(index for index, (_, _, data) in enumerate(records) if data.get("event") == "message-finish")
    (result, *_) = [index for index, (method, _, data) in enumerate(records) if method == "tasks" and "result" in data]
    assert first < result
    assert [message.text.get() for message in Reader().take(run.journal.records).messages] == ["enough", "all of it"]


async def test_tools_are_told_from_their_start_to_their_end(run: Runs) -> None:
    events = [data for _, data in of(await run("tooled"), "tool")]
    assert [event for event in events if event["tool_call_id"] == "call-1"][:4] == [
        {"event": "tool-started", "tool_call_id": "call-1", "tool_name": "look_up", "input": {"place": "Rome"}},
        *({"event": "tool-output-delta", "tool_call_id": "call-1", "delta": bit} for bit in ("sunny ", "in ", "Rome")),
    ]
    (end,) = [event for event in events if event["event"] == "tool-finished"]
    assert (end["tool_call_id"], end["output"]["content"]) == ("call-1", "sunny in Rome")
    (error,) = [event for event in events if event["event"] == "tool-error"]
    assert (error["tool_call_id"], error["message"]) == ("call-2", "nobody has been to Mars")


async def test_what_tools_answer_is_no_message(run: Runs) -> None:
    assert len(Reader().take(await run("tooled")).messages) == 2


async def test_subgraphs_live_at_every_depth(run: Runs) -> None:
    lives = [(where, data["event"], data.get("graph_name")) for where, data in of(await run("deep"), "lifecycle")]
    assert lives == [
        (("child",), "started", "child"),
        (("child", "leaf"), "started", "leaf"),
        (("child", "leaf"), "completed", None),
        (("child",), "completed", None),
    ]


async def test_the_last_values_of_a_subgraph_come_before_its_end(run: Runs) -> None:
    records = [
        (record.method, record.namespace, orjson.loads(record.data))
        for record in await run("fanned", durability="async")
    ]
    ends = [(index, where) for index, (method, where, data) in enumerate(records) if data.get("event") == "completed"]
    assert len(ends) == 2
    for end, where in ends:
        states = [index for index, one in enumerate(records) if one[:2] == ("values", where)]
        assert len(states) == 2 and states[-1] < end
        assert [message["content"] for message in records[states[-1]][2]["messages"]] == ["hello", "once"]


async def test_a_life_names_its_place_and_its_task(run: Runs) -> None:
    await run("deep")
    (start, *_) = [record for record in run.journal.records if record.method == "lifecycle"]
    data = orjson.loads(start.data)
    assert tuple(data["namespace"]) == start.namespace
    assert start.namespace[-1] == f"child:{data['trigger_call_id']}"
    assert "cause" not in data


async def test_an_agent_that_a_tool_asks_has_the_call_as_its_cause(run: Runs) -> None:
    (where, start), (_, end) = of(await run("delegating"), "lifecycle")
    assert (where, start["graph_name"]) == (("tools",), "researcher")
    assert start["cause"] == {"type": "toolCall", "tool_call_id": "call-1"}
    assert end["event"] == "completed"


async def test_a_question_is_asked_where_the_graph_asks_it(run: Runs) -> None:
    records = await run("asking_deep")
    ((where, asked),) = of(records, "input.requested")
    assert where == ("child", "leaf")
    assert asked["payload"] == {"question": "How deep?"}
    ends = [(where, data["event"]) for where, data in of(records, "lifecycle") if data["event"] != "started"]
    assert ends == [(("child", "leaf"), "interrupted"), (("child",), "interrupted")]
    assert run.journal.outcome is not None and run.journal.outcome.waits_for_input


async def test_an_answer_goes_on_in_the_subgraph(run: Runs) -> None:
    ((_, asked),) = of(await run("asking_deep"), "input.requested")
    records = await run("asking_deep", input=None, command={"resume": {asked["interrupt_id"]: "very"}})
    assert [message.text.get() for message in Reader().take(records).messages] == ["answered: very", "done"]
    assert of(records, "input.requested") == []
    assert [(where, data["event"]) for where, data in of(records, "lifecycle")] == [
        (("child",), "started"),
        (("child", "leaf"), "started"),
        (("child", "leaf"), "completed"),
        (("child",), "completed"),
    ]


async def test_what_still_waits_when_another_one_was_answered_is_asked_again(run: Runs) -> None:
    one, other = [asked for _, asked in of(await run("asking_twice"), "input.requested")]
    for answered, waiting in ((one, [other]), (other, [])):
        command = {"resume": {answered["interrupt_id"]: "now"}}
        records = await run("asking_twice", input=None, command=command)
        assert [asked for _, asked in of(records, "input.requested")] == waiting
        assert run.journal.outcome is not None and run.journal.outcome.waits_for_input is bool(waiting)
        (*_, (_, values)) = of(records, "values")
        shown = [interrupt["id"] for interrupt in values.get("__interrupt__", [])]
        assert shown == [asked["interrupt_id"] for asked in waiting]
    assert sorted(message["content"] for message in values["messages"]) == ["When? now", "Where? now", "hello"]


@pytest.mark.parametrize("by_protocol", [True, False])
async def test_a_graph_waits_at_a_breakpoint_of_its_subgraph(run: Runs, by_protocol: bool) -> None:
    for stopped in (True, False):
        given = {"input": ASKED if stopped else None, "event_streaming": by_protocol}
        await run("stopping_deep", **given)
        assert run.journal.outcome is not None and run.journal.outcome.waits_for_input is stopped


async def test_custom_events_are_recorded_as_they_were_written(run: Runs) -> None:
    assert [data for _, data in of(await run("named"), "custom")] == [
        {"done": 1},
        {"name": "progress", "payload": {"done": 2}},
        {"name": "progress", "payload": 3, "more": True},
        "a text",
    ]


async def test_what_a_transformer_of_the_graph_adds_is_recorded(run: Runs) -> None:
    records = await run("extended")
    counts = [data["count"] for _, data in of(records, "custom:words")]
    assert counts == list(range(1, len(counts) + 1)) and counts
    assert [message.text.get() for message in Reader().take(records).messages] == ["one two three", "from the leaf"]
    assert [(where, data["event"]) for where, data in of(records, "lifecycle")] == [
        (("child",), "started"),
        (("child",), "completed"),
    ]
    (*_, (_, values)) = of(records, "values")
    assert [message["type"] for message in values["messages"]] == ["human", "ai", "ai"]
    assert run.journal.outcome is not None and run.journal.outcome.status is RunStatus.SUCCESS


async def test_a_graph_with_transformers_tells_thoughts_and_calls_like_any_other(run: Runs) -> None:
    records = await run("extended_agent")
    first, last = Reader().take(records).messages
    assert (first.reasoning.get(), first.text.get(), last.text.get()) == (
        "Let me think.",
        "I will look.",
        "It is sunny.",
    )
    assert [(call["id"], call["args"]) for call in first.tool_calls.get()] == [
        ("call-1", {"place": "Rome"}),
        ("call-2", {"place": "Mars"}),
    ]
    deltas = {data["delta"]["type"] for _, data in of(records, "block") if "delta" in data}
    assert deltas == {"text-delta", "reasoning-delta", "block-delta"}
    assert {data["event"] for _, data in of(records, "tool")} >= {"tool-started", "tool-finished", "tool-error"}


async def test_a_graph_with_transformers_asks_like_any_other(run: Runs) -> None:
    records = await run("extended_asking")
    assert [where for where, _ in of(records, "input.requested")] == [("child",)]
    (*_, (_, values)) = of(records, "values")
    assert [interrupt["value"] for interrupt in values["__interrupt__"]] == [{"question": "How deep?"}]
    assert run.journal.outcome is not None and run.journal.outcome.waits_for_input


async def test_a_graph_with_transformers_can_be_stopped(run: Runs) -> None:
    execution = run.prepare("extended", configurable={"delay": 0.02})
    running = asyncio.create_task(execution.run())
    while not of(run.journal.records, "block"):
        await asyncio.sleep(0)
    execution.stop(Reason.CANCEL)
    assert await running is Ended.SETTLED
    (message,) = Reader().take(run.journal.records).messages
    assert message.done and "three" not in message.text.get()
    assert run.journal.outcome is not None and run.journal.outcome.status is RunStatus.INTERRUPTED


async def test_a_run_that_fails_ends_what_was_open(run: Runs) -> None:
    records = await run("tool_fails")
    assert run.journal.outcome is not None and run.journal.outcome.status is RunStatus.ERROR
    assert all(message.done for message in Reader().take(records).messages)


@pytest.mark.parametrize("reason", [Reason.CANCEL, Reason.TIMEOUT])
async def test_a_run_that_is_stopped_ends_what_was_open(run: Runs, reason: Reason) -> None:
    execution = run.prepare("deep", configurable={"delay": 0.02})
    running = asyncio.create_task(execution.run())
    while not of(run.journal.records, "block"):
        await asyncio.sleep(0)
    execution.stop(reason)
    assert await running is Ended.SETTLED
    records = run.journal.records
    (message,) = Reader().take(records).messages
    assert message.done and not message.text.get().endswith("child")
    (*_, (where, end)) = of(records, "lifecycle")
    words = "The run was cancelled." if reason is Reason.CANCEL else "The run took longer than it may."
    assert (where, end["event"], end["error"]) == (("child",), "failed", words)


async def test_a_run_that_goes_on_elsewhere_leaves_its_subgraphs_alone(run: Runs) -> None:
    execution = run.prepare("deep", configurable={"delay": 0.02})
    running = asyncio.create_task(execution.run())
    while not of(run.journal.records, "block"):
        await asyncio.sleep(0)
    execution.stop(Reason.DRAIN)
    assert await running is Ended.STOPPED
    (message,) = Reader().take(run.journal.records).messages
    assert message.done
    assert [data["event"] for _, data in of(run.journal.records, "lifecycle")] == ["started"]


async def test_a_run_that_is_rolled_back_ends_what_was_open(run: Runs) -> None:
    execution = run.prepare("deep", configurable={"delay": 0.02})
    running = asyncio.create_task(execution.run())
    while not of(run.journal.records, "block"):
        await asyncio.sleep(0)
    execution.stop(Reason.ROLLBACK)
    assert await running is Ended.SETTLED
    (message,) = Reader().take(run.journal.records).messages
    assert message.done
    assert [data["event"] for _, data in of(run.journal.records, "lifecycle")] == ["started", "failed"]


@pytest.mark.parametrize("graph_id", ["deep", "tooled", "extended"])
async def test_nothing_tells_what_the_caller_configured(run: Runs, graph_id: str) -> None:
    records = await run(graph_id, configurable={"token": "very secret"})
    assert not [record for record in records if b"very secret" in record.data]


async def test_a_run_of_the_rest_api_records_what_it_did(run: Runs) -> None:
    records = await run("deep", event_streaming=False, stream_mode=["messages-tuple", "updates"])
    assert {method for method, _, _ in told(records)} == {"messages", "updates", "values"}
    assert {nodes(record.namespace) for record in records if record.method == "messages"} == {
        (),
        ("child",),
        ("child", "leaf"),
    }
