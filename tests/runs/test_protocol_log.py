"""Runs that were started by the Agent Streaming Protocol, from their claim to their end in the log."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.conf import LazySettings

from accounts.models import User
from accounts.tenancy import Tenant
from runs import lifecycle
from runs.database import in_database
from runs.engine.execution import Ended, Execution
from runs.engine.graphs import Registry
from runs.engine.storage import FencedSaver, open_saver, site_database
from runs.engine.writer import Journal, Pen
from runs.models import Run, Thread
from runs.records import Record, unpack
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


class Engine:
    def __init__(self, registry: Registry, saver: FencedSaver, pen: Pen) -> None:
        self._parts = registry, saver, pen

    async def __call__(self, run: Run) -> list[Record]:
        """Executes the run, which is the next one; answers what the log holds of it."""
        registry, saver, pen = self._parts
        (attempt,) = await in_database(lifecycle.claim, "tests", 10)
        assert attempt.run_id == run.pk
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
