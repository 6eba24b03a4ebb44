"""What a langgraph.json may say, and what is answered to one that says something else."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runs.langgraph_json import LEAD_AGENT, ConfigError, GraphConfig, GraphSpec, IndexSpec, StoreSpec, read_config


def read(folder: Path, document: Any) -> GraphConfig:
    path = folder / "langgraph.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return read_config(path)


def test_it_lists_the_graphs_of_the_file_beside_the_built_in_one(tmp_path: Path) -> None:
    config = read(tmp_path, {"graphs": {"a": "./src/a.py:graph", "b": {"path": "my.mod:make", "description": "B."}}})
    assert list(config.graphs) == ["lead_agent", "a", "b"]
    assert (config.graphs["a"].source, config.graphs["a"].attribute) == (tmp_path / "src/a.py", "graph")
    assert (config.graphs["b"].source, config.graphs["b"].attribute) == ("my.mod", "make")
    assert config.graphs["b"].description == "B."


def test_without_a_file_there_is_the_built_in_graph() -> None:
    assert read_config(None).graphs == {"lead_agent": LEAD_AGENT}


def test_a_file_may_replace_the_built_in_graph(tmp_path: Path) -> None:
    config = read(tmp_path, {"graphs": {"lead_agent": "./mine.py:graph"}})
    assert config.graphs["lead_agent"].source == tmp_path / "mine.py"


def test_local_dependencies_and_then_the_files_folder_are_import_paths(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    config = read(tmp_path, {"dependencies": ["./src", "langchain_openai", "."]})
    assert config.import_paths == (tmp_path / "src", tmp_path)
    assert read(tmp_path, {}).import_paths == (tmp_path,)


def test_env_is_an_object_or_a_file_and_stays_out_of_the_repr(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text('KEY="s3cret"\nBARE\n# COMMENT=1\n')
    assert read(tmp_path, {"env": {"A": "b"}}).env == {"A": "b"}
    config = read(tmp_path, {"env": ".env"})
    assert config.env == {"KEY": "s3cret"}
    assert "s3cret" not in repr(config)


def test_keys_that_this_server_does_not_act_upon_are_named(tmp_path: Path) -> None:
    config = read(tmp_path, {"graphs": {}, "python_version": "3.12", "http": {}, "auth": {}})
    assert config.ignored == ("auth", "http")


def test_the_store_may_end_lifetimes_and_have_an_index(tmp_path: Path) -> None:
    assert read(tmp_path, {"store": {"index": None, "ttl": None}}).store == StoreSpec()
    ttl = {"default_ttl": 60, "refresh_on_read": False, "sweep_interval_minutes": 5}
    assert read(tmp_path, {"store": {"ttl": ttl}}).store == StoreSpec(None, 60, False, 5)


@pytest.mark.parametrize(
    ("embed", "found"),
    [
        ("openai:text-embedding-3-small", "openai:text-embedding-3-small"),
        ("ollama:llama3", "ollama:llama3"),
        ("pack.mod:embed", GraphSpec("store.index.embed", "pack.mod", "embed")),
        ("./a.py:embed", None),
    ],
)
def test_an_index_names_what_makes_its_vectors(tmp_path: Path, embed: str, found: object) -> None:
    config = read(tmp_path, {"store": {"index": {"dims": 3, "embed": embed, "fields": ["text"]}}})
    wanted = found or GraphSpec("store.index.embed", tmp_path / "a.py", "embed")
    assert config.store.index == IndexSpec(3, wanted, ("text",))  # type: ignore[arg-type]
    assert config.ignored == ()


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ([], "must hold a JSON object"),
        ({"graphs": []}, "graphs must be an object"),
        ({"graphs": {"a b": "./a.py:g"}}, "graph id 'a b'"),
        ({"graphs": {"": "./a.py:g"}}, "graph id ''"),
        ({"graphs": {"a" * 65: "./a.py:g"}}, "1 to 64 letters"),
        ({"graphs": {"a\n": "./a.py:g"}}, "graph id"),
        ({"graphs": {"a": "./a.py"}}, "graph 'a' must be"),
        ({"graphs": {"a": "./a.py:not an attribute"}}, "graph 'a' must be"),
        ({"graphs": {"a": "./a.ts:graph"}}, "graph 'a' must be"),
        ({"graphs": {"a": ":graph"}}, "graph 'a' must be"),
        ({"graphs": {"a": "pack..mod:graph"}}, "graph 'a' must be"),
        ({"graphs": {"a": 1}}, "graph 'a' must be"),
        ({"graphs": {"a": {"description": "no path"}}}, "graph 'a' must be"),
        ({"graphs": {"a": {"path": "./a.py:g", "description": 1}}}, "the description of graph 'a'"),
        ({"dependencies": "."}, "dependencies must be a list"),
        ({"dependencies": [1]}, "dependencies must be a list"),
        ({"dependencies": ["./nowhere"]}, "'./nowhere' is not a folder"),
        ({"store": []}, "store must be an object"),
        ({"store": {"path": "x"}}, "store does not know path"),
        ({"store": {"index": {"embed": "a:b"}}}, "dims must be an integer"),
        ({"store": {"index": {"embed": "a:b", "dims": True}}}, "dims must be an integer"),
        ({"store": {"index": {"embed": "a:b", "dims": 16_001}}}, "dims must be an integer"),
        ({"store": {"index": {"embed": "./a.py", "dims": 3}}}, "store.index.embed must be"),
        ({"store": {"index": {"dims": 3}}}, "store.index.embed must be"),
        ({"store": {"index": {"embed": "a:b", "dims": 3, "fields": "text"}}}, "store.index.fields must be"),
        ({"store": {"ttl": {"default_ttl": 0}}}, "store.ttl.default_ttl must be"),
        ({"store": {"ttl": {"sweep_interval_minutes": "5"}}}, "sweep_interval_minutes must be"),
        ({"store": {"ttl": {"refresh_on_read": 1}}}, "refresh_on_read must be"),
        ({"env": 1}, "env must be"),
        ({"env": {"A": 1}}, "env must map"),
        ({"env": {"A=B": "c"}}, "env must map"),
        ({"env": "nowhere.env"}, "'nowhere.env' does not exist"),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence(tmp_path: Path, document: Any, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        read(tmp_path, document)
    assert str(caught.value).startswith(str(tmp_path / "langgraph.json"))
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_one_in_another_encoding_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_config(tmp_path / "nowhere.json")
    (tmp_path / "latin.json").write_bytes('{"graphs": {"é": 1}}'.encode("latin-1"))
    with pytest.raises(ConfigError, match="is not UTF-8"):
        read_config(tmp_path / "latin.json")


def test_knowing_the_graph_ids_imports_no_graph_library() -> None:
    program = "import sys, runs.langgraph_json; print([m for m in sys.modules if m.startswith(('lang', 'django'))])"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
