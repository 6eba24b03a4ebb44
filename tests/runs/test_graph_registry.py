"""The engine's graphs: how they are loaded, lent and bound, and what a broken one costs."""

import asyncio
import json
import logging
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langgraph._internal import _serde
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.store.memory import InMemoryStore

from runs.engine.graphs import BrokenGraph, Registry, UnknownGraph
from runs.langgraph_json import GraphConfig, read_config

GRAPHS = Path(__file__).parents[1] / "graphs"

SAYING = """
from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph

def saying(text):
    async def say(state):
        return {"messages": [AIMessage(text)]}
    return StateGraph(MessagesState).add_node("say", say).add_edge(START, "say").compile()
"""

Deploy = Callable[..., GraphConfig]


@pytest.fixture(autouse=True)
def clean_imports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Undo what loading does to the process, so that each test starts from the same."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(os, "environ", dict(os.environ))
    yield
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith((str(tmp_path), str(GRAPHS))):
            del sys.modules[name]


@pytest.fixture
def deploy(tmp_path: Path) -> Deploy:
    """Write the files of a deployment, `saying.py` among them, and return its configuration."""

    def write(graphs: dict[str, str], files: dict[str, str], **keys: Any) -> GraphConfig:
        for name, text in {"saying.py": SAYING, **files}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (tmp_path / "langgraph.json").write_text(json.dumps({"graphs": graphs, **keys}))
        return read_config(tmp_path / "langgraph.json")

    return write


async def answer(registry: Registry, graph_id: str, *, access_context: Any = "threads.create_run", **given: Any) -> str:
    color = {"configurable": {"color": "red"}}
    options = {"checkpointer": None, "store": InMemoryStore(), **given}
    async with registry.open(graph_id, color, access_context=access_context, **options) as graph:
        state = await graph.ainvoke({"messages": [("user", "hello")]})
    last = state["messages"][-1]
    assert isinstance(last, AIMessage)
    return str(last.text)


async def test_it_lends_a_graph_bound_to_the_checkpointer_and_store(deploy: Deploy) -> None:
    registry = Registry.load(deploy({"hi": "./hi.py:graph"}, {"hi.py": "from saying import *; graph = saying('hi')"}))
    checkpointer, store = InMemorySaver(), InMemoryStore()
    opened = registry.open("hi", {}, access_context="threads.create_run", checkpointer=checkpointer, store=store)
    async with opened as graph:
        assert (graph.checkpointer, graph.store, graph.name) == (checkpointer, store, "hi")
    async with registry.open("hi", {}, access_context="threads.read", checkpointer=None, store=store) as other:
        assert other.checkpointer is None
        assert graph.checkpointer is checkpointer


@pytest.mark.parametrize(
    ("graph_id", "said"),
    [
        ("echo", "echo: hello"),
        ("builder", "from a builder"),
        ("factory_none", "from nothing"),
        ("factory_config", "from config red"),
        ("factory_runtime", "from runtime threads.create_run Tone(loud=True)"),
        ("factory_both", "from config red and runtime threads.create_run"),
        ("factory_async", "from config red"),
        ("factory_managed", "from a context"),
        ("factory_module", "from nothing"),
    ],
)
async def test_a_graph_comes_in_every_shape(graph_id: str, said: str) -> None:
    registry = Registry.load(read_config(GRAPHS / "langgraph.json"))
    assert await answer(registry, graph_id, context={"loud": True}) == said


@pytest.mark.parametrize("access_context", ["threads.read", "threads.update", "assistants.read"])
async def test_a_factory_gets_the_context_of_runs_only(access_context: str) -> None:
    registry = Registry.load(read_config(GRAPHS / "langgraph.json"))
    said = await answer(registry, "factory_runtime", access_context=access_context, context={"loud": True})
    assert said == f"from runtime {access_context} None"


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ("a", "config"),
        ("runtime", "runtime"),
        ("a: ServerRuntime", "runtime"),
        ("a: 'ServerRuntime[Unknown]'", "runtime"),
        ("a: ServerRuntime | None = None", "runtime"),
        ("a: 'TypeCheckingOnly'", "config"),
        ("a, b", "config runtime"),
        ("runtime, config", "runtime config"),
        ("a: ServerRuntime, b", "runtime config"),
        ("a: ServerRuntime, b: RunnableConfig", "runtime config"),
        ("a, /, *, b", "config runtime"),
        ("a, b='default'", "config default"),
        ("*args, **kwargs", ""),
    ],
)
async def test_what_a_factory_gets_goes_by_annotation_then_name_then_order(
    deploy: Deploy, parameters: str, said: str
) -> None:
    names = [part.split(":")[0].split("=")[0].strip() for part in parameters.split(",") if "*" not in part]
    source = f"""
from langchain_core.runnables import RunnableConfig
from langgraph_sdk.runtime import ServerRuntime
from saying import saying

def kind(value):
    return value if isinstance(value, str) else "config" if isinstance(value, dict) else "runtime"

def make({parameters}):
    return saying(" ".join(map(kind, [{", ".join(name for name in names if name != "/")}])))
"""
    registry = Registry.load(deploy({"made": "./made.py:make"}, {"made.py": source}))
    assert await answer(registry, "made") == said


async def test_a_context_factory_is_open_while_its_graph_is_lent_and_closed_when_the_run_fails() -> None:
    registry = Registry.load(read_config(GRAPHS / "langgraph.json"))
    journal = sys.modules["factories"].journal
    journal.clear()
    options: Any = {"access_context": "threads.create_run", "checkpointer": None, "store": InMemoryStore()}
    with pytest.raises(KeyError):
        async with registry.open("factory_managed", {}, **options):
            assert journal == ["opened"]
            raise KeyError("from the run")
    assert journal == ["opened", "closed"]


async def test_a_synchronous_factory_may_block(deploy: Deploy) -> None:
    source = """
import threading
from saying import saying
proceed = threading.Event()

def make():
    assert proceed.wait(10)
    return saying("at last")
"""
    registry = Registry.load(deploy({"slow": "./slow_factory.py:make"}, {"slow_factory.py": source}))
    said = asyncio.create_task(answer(registry, "slow"))
    await asyncio.sleep(0)
    sys.modules["slow_factory"].proceed.set()
    assert await said == "at last"


async def test_a_failing_graph_does_not_stop_the_others(deploy: Deploy, caplog: pytest.LogCaptureFixture) -> None:
    files = {
        "missing.py": "import package_that_nobody_has",
        "typo.py": "def (",
        "exits.py": "import sys; sys.exit(3)",
        "empty.py": "",
        "text.py": "graph = 'not a graph'",
        "greedy.py": "def graph(a, b, c): ...",
        "good.py": "from saying import *; graph = saying('good')",
    }
    graphs = {name.removesuffix(".py"): f"./{name}:graph" for name in files} | {"nowhere": "./nowhere.py:graph"}
    with caplog.at_level(logging.ERROR, "runs.engine.graphs"):
        registry = Registry.load(deploy(graphs, files))
    assert registry.errors == {
        "missing": "ModuleNotFoundError: No module named 'package_that_nobody_has'",
        "typo": "SyntaxError: invalid syntax (typo.py, line 1)",
        "exits": "SystemExit: 3",
        "empty": "AttributeError: module 'empty' has no attribute 'graph'",
        "text": "TypeError: expected a graph or a function that makes one, not str",
        "greedy": "TypeError: a graph factory takes a config and a runtime, not also 'c'",
        "nowhere": "FileNotFoundError: there is no file nowhere.py",
    }
    assert "Traceback" in caplog.text
    assert await answer(registry, "good") == "good"


def test_a_broken_graph_is_told_with_its_reason_and_an_unknown_one_by_name() -> None:
    registry = Registry.load(read_config(GRAPHS / "langgraph.json"))
    options: Any = {"access_context": "threads.create_run", "checkpointer": None, "store": InMemoryStore()}
    with pytest.raises(
        BrokenGraph, match="The graph 'broken' is broken: ModuleNotFoundError: No module named"
    ) as caught:
        registry.open("broken", {}, **options)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    with pytest.raises(UnknownGraph, match="There is no graph 'nobody'"):
        registry.open("nobody", {}, **options)
    assert "broken" not in registry.graph_ids


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise RuntimeError('no')", "RuntimeError: no"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise StopIteration", "RuntimeError"),
        ("return 1", "TypeError: expected a graph or a function that makes one, not int"),
    ],
)
@pytest.mark.parametrize("keyword", ["def", "async def"])
async def test_a_failing_factory_breaks_its_call(deploy: Deploy, keyword: str, body: str, reason: str) -> None:
    registry = Registry.load(deploy({"made": "./made.py:make"}, {"made.py": f"{keyword} make():\n    {body}\n"}))
    with pytest.raises(BrokenGraph) as caught:
        await asyncio.wait_for(answer(registry, "made"), 10)
    assert caught.value.reason.startswith(reason)


async def test_a_reason_is_one_short_line_without_the_folders_of_the_machine(deploy: Deploy, tmp_path: Path) -> None:
    raised = f"at {tmp_path}/deep/a.py\nand ({tmp_path}/b.py), see https://example.org/a/b or ./c/d.py " + "x" * 1000
    registry = Registry.load(deploy({"bad": "./bad.py:graph"}, {"bad.py": f"raise ValueError({raised!r})"}))
    reason = registry.errors["bad"]
    assert reason.startswith("ValueError: at a.py and (b.py), see https://example.org/a/b or ./c/d.py xxx")
    assert len(reason) <= len("ValueError: ") + 500
    assert str(tmp_path.parent) not in reason


async def test_a_file_is_the_module_that_its_neighbours_import(deploy: Deploy) -> None:
    files = {
        "agent_of_test/__init__.py": "",
        "agent_of_test/state.py": "class Thing: ...",
        "agent_of_test/graph.py": "from saying import *\nfrom .state import Thing\ngraph = saying(Thing.__module__)",
    }
    registry = Registry.load(deploy({"a": "./agent_of_test/graph.py:graph"}, files))
    assert registry.errors == {}
    assert await answer(registry, "a") == "agent_of_test.state"
    assert sys.modules["agent_of_test.graph"].saying


async def test_a_file_named_like_a_module_of_the_server_is_still_loaded(deploy: Deploy) -> None:
    source = "from saying import *\nclass Thing: ...\ngraph = saying(Thing.__module__)"
    config = deploy(
        {"a": "./json.py:graph", "b": "./runs/states.py:graph"}, {"json.py": source, "runs/states.py": source}
    )
    registry = Registry.load(config)
    assert await answer(registry, "a") == "graph_file_json"
    assert await answer(registry, "b") == "graph_file_runs_states"
    assert sys.modules["json"] is json
    assert sys.path[-1] == str(config.import_paths[0])
    assert pickle.loads(pickle.dumps(sys.modules["graph_file_json"].Thing)).__module__ == "graph_file_json"


async def test_a_file_of_many_graphs_is_executed_once(deploy: Deploy) -> None:
    source = (
        "from saying import *\nimport sys\nsys.graph_loads = getattr(sys, 'graph_loads', 0) + 1\na = b = saying('x')"
    )
    registry = Registry.load(deploy({"a": "./my-file.py:a", "b": "./my-file.py:b"}, {"my-file.py": source}))
    assert set(registry.graph_ids) == {"lead_agent", "a", "b"}
    assert vars(sys).pop("graph_loads") == 1


def test_env_is_set_before_loading_and_yields_to_the_process(deploy: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THE_PROCESS", "kept")
    env = {"TESTS_GRAPHS_GREETING": "hello", "OF_THE_PROCESS": "changed"}
    source = "import os\nfrom saying import *\ngraph = saying(os.environ['TESTS_GRAPHS_GREETING'])"
    registry = Registry.load(deploy({"a": "./a_of_test.py:graph"}, {"a_of_test.py": source}, env=env))
    assert registry.errors == {}
    assert os.environ["OF_THE_PROCESS"] == "kept"


async def test_checkpoints_may_hold_the_classes_of_the_graphs_own_state(
    deploy: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_serde, "STRICT_MSGPACK_ENABLED", True)
    source = """
from dataclasses import dataclass
from typing import TypedDict
from langgraph.graph import START, StateGraph

@dataclass
class Thing:
    size: int

class State(TypedDict):
    thing: Thing

def make(state):
    return {"thing": Thing(3)}

graph = StateGraph(State).add_node("make", make).add_edge(START, "make")
"""
    registry = Registry.load(deploy({"a": "./thing_of_test.py:graph"}, {"thing_of_test.py": source}))
    saver = InMemorySaver(serde=JsonPlusSerializer(allowed_msgpack_modules=None))
    config: Any = {"configurable": {"thread_id": "t"}}
    options: Any = {"access_context": "threads.create_run", "checkpointer": saver, "store": InMemoryStore()}
    async with registry.open("a", config, **options) as graph:
        await graph.ainvoke({}, config)
        assert (await graph.aget_state(config)).values["thing"].size == 3


def test_the_built_in_graph_may_be_replaced(deploy: Deploy) -> None:
    files = {"mine.py": "from saying import *\ngraph = saying('mine')"}
    registry = Registry.load(deploy({"lead_agent": "./mine.py:graph"}, files))
    assert asyncio.run(answer(registry, "lead_agent")) == "mine"


def test_a_model_that_cannot_be_had_breaks_the_built_in_graph_only(deploy: Deploy) -> None:
    files = {"good.py": "from saying import *; graph = saying('good')"}
    registry = Registry.load(deploy({"good": "./good.py:graph"}, files), model="nobody:knows")
    assert registry.errors["lead_agent"].startswith("ValueError: Unable to infer model provider")
    assert list(registry.graph_ids) == ["good"]
