"""The stress graph does what its input says: other tests rest on it."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command

from runs.engine.graphs import AnyGraph, Registry
from runs.langgraph_json import read_config

GRAPHS = Path(__file__).parents[1] / "graphs"


@pytest.fixture
async def stress(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", list(sys.path))
    registry = Registry.load(read_config(GRAPHS / "langgraph.json"))
    options: Any = {"access_context": "threads.create_run", "checkpointer": InMemorySaver(), "store": InMemoryStore()}
    async with registry.open("stress", {}, **options) as graph:
        return graph


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    yield


def attempt(run_id: str, number: int = 1) -> Any:
    return {"configurable": {"thread_id": "t", "run_id": run_id, "run_attempt": number}}


async def test_each_step_writes_the_ledger(stress: AnyGraph, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    state = await stress.ainvoke({"steps": 3, "ledger": str(ledger)}, attempt("r", 2))
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert [(line["run_id"], line["attempt"], line["step"]) for line in lines] == [("r", 2, step) for step in range(3)]
    assert {line["pid"] for line in lines} == {os.getpid()}
    assert state["done"] == [0, 1, 2]


async def test_an_attempt_goes_on_where_the_last_one_failed(stress: AnyGraph, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    plan = {"steps": 3, "fail_at": 1, "attempts": 1, "ledger": str(ledger)}
    with pytest.raises(ValueError, match="told to fail at step 1"):
        await stress.ainvoke(plan, attempt("r", 1))
    state = await stress.ainvoke(plan, attempt("r", 2))
    assert state["done"] == [0, 1, 2]
    steps = [(line["attempt"], line["step"]) for line in map(json.loads, ledger.read_text().splitlines())]
    assert steps == [(1, 0), (1, 1), (2, 1), (2, 2)]


async def test_the_next_run_on_the_thread_starts_from_its_own_input(stress: AnyGraph) -> None:
    with pytest.raises(ValueError, match="told to fail"):
        await stress.ainvoke({"fail_at": 0}, attempt("first"))
    state = await stress.ainvoke({"steps": 2}, attempt("second"))
    assert (state["plan"], state["done"]) == ({"steps": 2}, [0, 1])


async def test_it_asks_once_and_goes_on_with_the_answer(stress: AnyGraph, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    asked = await stress.ainvoke({"steps": 2, "interrupt_at": 1, "ledger": str(ledger)}, attempt("first"))
    assert asked["__interrupt__"][0].value == {"step": 1}
    state = await stress.ainvoke(Command(resume="yes"), attempt("second"))
    assert (state["answers"], state["done"]) == (["yes"], [0, 1])
    assert len(ledger.read_text().splitlines()) == 2


async def test_it_streams_tokens_of_the_size_asked_for(stress: AnyGraph) -> None:
    stream = stress.astream({"steps": 2, "tokens": 5, "token_bytes": 20}, attempt("r"), stream_mode="messages")
    sizes = [len(message.text) async for message, _ in stream if message.text]
    assert sizes == [20] * 10


@pytest.mark.parametrize("hang", ["async", "thread", "cpu", "block"])
async def test_it_hangs_for_as_long_as_told(stress: AnyGraph, hang: str) -> None:
    state = await stress.ainvoke({"steps": 2, "hang": hang, "hang_at": 1, "block_seconds": 0.01}, attempt("r"))
    assert state["done"] == [0, 1]


@pytest.mark.parametrize(("swallow", "delay"), [(True, 0.05), (False, 60)])
async def test_it_ignores_cancellation_when_told(stress: AnyGraph, tmp_path: Path, swallow: bool, delay: float) -> None:
    plan = {"delay": delay, "swallow_cancel": swallow, "ledger": str(tmp_path / "ledger")}
    run = asyncio.create_task(stress.ainvoke(plan, attempt("r")))
    while not (tmp_path / "ledger").exists():
        await asyncio.sleep(0)
    run.cancel()
    [outcome] = await asyncio.gather(run, return_exceptions=True)
    assert isinstance(outcome, asyncio.CancelledError) is not swallow


@pytest.mark.parametrize("value", ["nan", "nul", "surrogate", "lambda", "lock", "bigint", "deep"])
async def test_it_makes_values_that_are_hard_to_store(stress: AnyGraph, value: str) -> None:
    unsaved = stress.copy({"checkpointer": None})
    state = await unsaved.ainvoke({"steps": 2, "value": value, "value_at": 1}, attempt("r"))
    assert "odd" in state


def test_it_ends_its_process_when_told() -> None:
    program = "import asyncio, stress; asyncio.run(stress.stress.ainvoke({'steps': 2, 'exit_at': 1}))"
    ended = subprocess.run([sys.executable, "-c", program], cwd=GRAPHS, capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (9, b"")
