"""Runs that were started by the Agent Streaming Protocol, from their claim to their end in the log."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.conf import LazySettings
from langchain_core.language_models.chat_model_stream import ChatModelStream
from langgraph_sdk.stream.decoders import MessagesDecoder

from accounts.models import User
from accounts.tenancy import Tenant
from runs import lifecycle
from runs.database import in_database
from runs.engine.execution import Ended, Execution
from runs.engine.graphs import Registry
from runs.engine.storage import FencedSaver, open_saver, site_database
from runs.engine.writer import Journal, Pen
from runs.lifecycle import LOST_PROCESS, Attempt
from runs.models import Run, Thread
from runs.protocol.events import EventStream
from runs.protocol.selection import selection
from runs.records import Chunk, Record, unpack
from tests.factories import chunks_of, make_run, make_thread, run_kwargs, tenant_of
from tests.runs.protocol_runs import ASKED, Reader, loaded_graphs, of, told

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    with loaded_graphs() as registry:
        yield registry


@pytest.fixture
def tenant(alice: User, acme: object) -> Tenant:
    return tenant_of(alice)


@pytest.fixture
async def saver(settings: LazySettings, tmp_path: Path) -> AsyncIterator[FencedSaver]:
    settings.CHECKPOINTS_PATH = tmp_path / "checkpoints.sqlite3"
    async with open_saver(site_database(None)) as saver:
        yield saver


@pytest.fixture
async def pen() -> AsyncIterator[Pen]:
    pen = Pen(asyncio.get_running_loop())
    pen.start()
    yield pen
    await asyncio.to_thread(pen.stop)


@pytest.fixture
def thread(tenant: Tenant) -> Thread:
    return make_thread(tenant)


def asked(tenant: Tenant, thread: Thread, graph_id: str, **over: Any) -> Run:
    kwargs = {"input": ASKED, "graph_id": graph_id, "event_streaming": True, "subgraphs": True, **over}
    run = make_run(tenant, thread, graph_id=graph_id)
    run.kwargs = run_kwargs(thread.pk, run.pk, **kwargs)
    run.save()
    return run


async def claimed(run: Run) -> Attempt:
    """The next attempt, which is one at this run."""
    # What somebody still writes to is left for the next look.
    while not (found := await in_database(lifecycle.claim, "tests", 10)):
        await asyncio.sleep(0)
    (attempt,) = found
    assert attempt.run_id == run.pk
    return attempt


class Engine:
    def __init__(self, registry: Registry, saver: FencedSaver, pen: Pen) -> None:
        self._parts = registry, saver, pen

    async def lose(self, run: Run, *, crashed: bool) -> None:
        """Executes the run until it speaks; then its claim is lost, and with it all that it does from then on."""
        registry, saver, pen = self._parts
        attempt = await claimed(run)
        attempt.kwargs["config"]["configurable"]["delay"] = 1
        journal = Journal(pen, attempt.run_id, attempt.claim, attempt.thread_id)
        running = asyncio.create_task(Execution(attempt, journal, registry, saver).run())
        while not any(b"content-block-delta" in one.payload for one in await in_database(chunks_of, run.thread_id)):
            await asyncio.sleep(0)
        assert await in_database(lambda: lifecycle.release([(attempt.run_id, attempt.claim)], crashed=crashed)) == 1
        assert await running is Ended.LOST

    async def __call__(self, run: Run) -> list[Record]:
        """Executes the run, which is the next one; answers what the log holds of it."""
        registry, saver, pen = self._parts
        attempt = await claimed(run)
        journal = Journal(pen, attempt.run_id, attempt.claim, attempt.thread_id)
        assert await Execution(attempt, journal, registry, saver).run() is Ended.SETTLED
        chunks = await in_database(chunks_of, run.thread_id)
        return [record for chunk in chunks if chunk.run_id == str(run.pk) for _, record in unpack(chunk)]


@pytest.fixture
def execute(registry: Registry, saver: FencedSaver, pen: Pen) -> Engine:
    return Engine(registry, saver, pen)


def data_of(records: list[Record], method: str) -> Any:
    (record,) = [record for record in records if record.method == method]
    return orjson.loads(record.data)


async def test_a_run_is_told_from_its_graph_to_its_end(tenant: Tenant, thread: Thread, execute: Engine) -> None:
    records = await execute(await in_database(asked, tenant, thread, "deep"))
    methods = [method for method, _, _ in told(records)]
    assert (methods[0], methods[-1]) == ("metadata", "end")
    assert data_of(records, "metadata")["graph_id"] == "deep"
    assert data_of(records, "end") == {"status": "success", "graph_id": "deep"}
    assert [message.text.get() for message in Reader().take(records).messages] == [
        "from the child",
        "from the leaf",
        "from the root",
    ]


async def test_a_run_that_asks_waits_and_its_answer_ends_it(tenant: Tenant, thread: Thread, execute: Engine) -> None:
    records = await execute(await in_database(asked, tenant, thread, "asking_deep"))
    assert data_of(records, "end") == {"status": "success", "graph_id": "asking_deep", "waits": True}
    ((where, question),) = of(records, "input.requested")
    assert where == ("child", "leaf")
    command = {"resume": {question["interrupt_id"]: "very"}}
    answer = await in_database(lambda: asked(tenant, thread, "asking_deep", input=None, command=command))
    records = await execute(answer)
    assert data_of(records, "end") == {"status": "success", "graph_id": "asking_deep"}
    assert [message.text.get() for message in Reader().take(records).messages] == ["answered: very", "done"]


async def test_a_run_that_fails_says_why(tenant: Tenant, thread: Thread, execute: Engine) -> None:
    records = await execute(await in_database(asked, tenant, thread, "tool_fails"))
    end = data_of(records, "end")
    assert end == {"status": "error", "graph_id": "tool_fails", "error": "nobody has been to Mars"}


async def test_what_a_graph_of_its_own_stream_tells_is_in_the_log(
    tenant: Tenant, thread: Thread, execute: Engine
) -> None:
    records = await execute(await in_database(asked, tenant, thread, "extended"))
    assert of(records, "custom:words")[0] == ((), {"count": 1})
    assert data_of(records, "end") == {"status": "success", "graph_id": "extended"}


def heard(chunks: list[Chunk], namespace: list[str]) -> list[ChatModelStream]:
    """The messages of one place, as the Python SDK puts them together."""
    stream = EventStream(selection(["messages"]), 0)
    decoder = MessagesDecoder(namespace, lambda **about: ChatModelStream(**about))
    events = [orjson.loads(event.body) for chunk in chunks for event in stream.render(chunk)]
    return [message for event in events for message in decoder.feed(event)]


async def test_a_message_that_was_torn_ends_and_the_next_attempt_is_heard(
    tenant: Tenant, thread: Thread, execute: Engine
) -> None:
    run = await in_database(asked, tenant, thread, "deep")
    await execute.lose(run, crashed=True)
    records = await execute(run)
    (first, *_, last) = [record for record in records if record.method == "lifecycle"]
    lives = [(where, data["event"]) for where, data in of(records, "lifecycle")]
    assert lives[:3] == [(("child",), "started"), (("child",), "failed"), (("child",), "started")]
    assert orjson.loads(last.data)["event"] == "completed"
    torn, whole = heard(await in_database(chunks_of, run.thread_id), list(first.namespace))
    assert torn.done
    with pytest.raises(RuntimeError, match=LOST_PROCESS):
        torn.text.get()
    assert (whole.done, whole.text.get()) == (True, "from the child")


async def test_the_ends_of_what_was_torn_come_before_all_else(tenant: Tenant, thread: Thread, execute: Engine) -> None:
    run = await in_database(asked, tenant, thread, "deep")
    await execute.lose(run, crashed=True)
    records = [record for record in await execute(run) if record.method != "message"]
    (_, begins) = [index for index, record in enumerate(records) if record.method == "metadata"]
    ends = [(record.method, orjson.loads(record.data)["event"]) for record in records[begins + 1 :][:2]]
    assert ends == [("block", "error"), ("lifecycle", "failed")]


async def test_after_a_drain_a_subgraph_just_goes_on(tenant: Tenant, thread: Thread, execute: Engine) -> None:
    run = await in_database(asked, tenant, thread, "deep")
    await execute.lose(run, crashed=False)
    lives = [data["event"] for _, data in of(await execute(run), "lifecycle")]
    assert "failed" not in lives and lives[-1] == "completed"
