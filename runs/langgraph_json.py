"""Reads a `langgraph.json`: which graphs there are and where they come from, without importing any of them.

The web process reads it to know the graph ids, the engine to load the graphs. A local dependency (`.`, `./src`, an
absolute path) becomes an import path; any other names a package, which must be installed already.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from runs.webhook_config import BadWebhooks, WebhookConfig, read_webhooks

GRAPH_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")

#: Ten years.
MAX_MINUTES = 5_256_000
#: What pgvector takes.
_MAX_DIMS = 16_000

#: Keys that only matter to those who build an image from the file.
BUILD_KEYS = frozenset(
    {
        "$schema",
        "_INTERNAL_docker_tag",
        "api_version",
        "base_image",
        "dockerfile_lines",
        "image_distro",
        "keep_pkg_tools",
        "node_version",
        "pip_config_file",
        "pip_installer",
        "python_version",
        "source",
    }
)


class ConfigError(Exception):
    """The langgraph.json cannot be used; the message is one sentence for whoever wrote it."""


@dataclass(frozen=True, slots=True)
class GraphSpec:
    """Where a graph comes from: an attribute of a file or of an importable module."""

    graph_id: str
    source: Path | str
    attribute: str
    description: str | None = None


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """How items of the store are found by meaning: by vectors of `dims` numbers, of the texts at `fields`."""

    dims: int
    #: What makes vectors of texts: a function, or a model as "provider:model".
    embed: GraphSpec | str
    fields: tuple[str, ...] = ("$",)


@dataclass(frozen=True, slots=True)
class StoreSpec:
    """How the store keeps items. Times are minutes."""

    index: IndexSpec | None = None
    #: Of items that were put without one; None: they stay.
    default_ttl: float | None = None
    refresh_on_read: bool = True
    sweep_interval: float = 1.0


@dataclass(frozen=True, slots=True)
class GraphConfig:
    """What this server takes from a langgraph.json, paths absolute. The built-in graph is always among `graphs`."""

    graphs: Mapping[str, GraphSpec]
    import_paths: tuple[Path, ...] = ()
    #: May hold keys of model providers, so it stays out of logs.
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    webhooks: WebhookConfig = field(default_factory=WebhookConfig)
    #: Keys of the file that this server does not act upon.
    ignored: tuple[str, ...] = ()
    store: StoreSpec = StoreSpec()


LEAD_AGENT = GraphSpec(
    "lead_agent",
    "runs.builtin.lead_agent",
    "make_graph",
    "The built-in assistant: talks, tells the time and calculates.",
)


def read_config(path: Path | None) -> GraphConfig:
    """Return the file's graphs beside the built-in one, which an equal id replaces; without a file that one alone.

    Raises ConfigError.
    """
    graphs = {LEAD_AGENT.graph_id: LEAD_AGENT}
    if path is None:
        return GraphConfig(graphs)
    document, base = _read_object(path), path.absolute().parent
    entries = document.get("graphs", {})
    if not isinstance(entries, dict):
        raise ConfigError(f"{path}: graphs must be an object from graph ids to paths.")
    try:
        graphs |= {graph_id: _graph_spec(graph_id, entry, base) for graph_id, entry in entries.items()}
        import_paths = _import_paths(document.get("dependencies", []), base)
        env = _environment(document.get("env", {}), base)
        # The environment wins, as it does in the engines.
        webhooks = read_webhooks(document.get("webhooks", {}), {**env, **os.environ})
        store = _store_spec(document.get("store", {}), base)
    except (ConfigError, BadWebhooks) as exc:
        raise ConfigError(f"{path}: {exc}") from exc
    ignored = document.keys() - BUILD_KEYS - {"graphs", "dependencies", "env", "store", "webhooks"}
    return GraphConfig(graphs, import_paths, env, webhooks, tuple(sorted(ignored)), store)


def _read_object(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror}.") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path} is not UTF-8 text.") from exc
    except (ValueError, RecursionError) as exc:
        raise ConfigError(f"{path} is not valid JSON: {exc}.") from exc
    if not isinstance(document, dict):
        raise ConfigError(f"{path} must hold a JSON object.")
    return document


def _graph_spec(graph_id: str, entry: object, base: Path) -> GraphSpec:
    if not GRAPH_ID.fullmatch(graph_id):
        raise ConfigError(f"graph id {graph_id!r} must be 1 to 64 letters, digits, '_', '.' or '-'.")
    location, description = entry, None
    if isinstance(entry, dict):
        location, description = entry.get("path"), entry.get("description")
    if description is not None and not isinstance(description, str):
        raise ConfigError(f"the description of graph {graph_id!r} must be a string.")
    source, attribute = _split_location(graph_id, location)
    return GraphSpec(graph_id, _normal(base / source) if _is_file(source) else source, attribute, description)


def _split_location(graph_id: str, location: object) -> tuple[str, str]:
    if isinstance(location, str):
        source, _, attribute = location.rpartition(":")
        well_formed = source.endswith(".py") if _is_file(source) else MODULE.fullmatch(source)
        if well_formed and attribute.isidentifier():
            return source, attribute
    raise ConfigError(f"graph {graph_id!r} must be './file.py:attribute' or 'package.module:attribute'.")


def _is_file(source: str) -> bool:
    return "/" in source or "\\" in source or source.endswith(".py")


def _store_spec(entry: object, base: Path) -> StoreSpec:
    known = _object("store", entry, {"index", "ttl"})
    ttl = _object("store.ttl", known.get("ttl", {}), {"default_ttl", "refresh_on_read", "sweep_interval_minutes"})
    refresh = ttl.get("refresh_on_read", True)
    if not isinstance(refresh, bool):
        raise ConfigError("store.ttl.refresh_on_read must be true or false.")
    return StoreSpec(
        _index_spec(known["index"], base) if known.get("index") is not None else None,
        _minutes("default_ttl", ttl),
        refresh,
        _minutes("sweep_interval_minutes", ttl) or StoreSpec().sweep_interval,
    )


def _index_spec(entry: object, base: Path) -> IndexSpec:
    index = _object("store.index", entry, {"dims", "embed", "fields"})
    dims, fields = index.get("dims"), index.get("fields") or ["$"]
    if not isinstance(dims, int) or isinstance(dims, bool) or not 1 <= dims <= _MAX_DIMS:
        raise ConfigError(f"store.index.dims must be an integer from 1 to {_MAX_DIMS}.")
    if not isinstance(fields, list) or not all(isinstance(path, str) and path for path in fields):
        raise ConfigError("store.index.fields must be a list of paths.")
    return IndexSpec(dims, _embed_spec(index.get("embed"), base), tuple(fields))


def _embed_spec(location: object, base: Path) -> GraphSpec | str:
    source, _, attribute = location.rpartition(":") if isinstance(location, str) else ("", "", "")
    if not source or not attribute:
        raise ConfigError("store.index.embed must be 'provider:model', './file.py:name' or 'package.module:name'.")
    if _is_file(source):
        return GraphSpec("store.index.embed", _normal(base / source), attribute)
    if "." in source and MODULE.fullmatch(source) and attribute.isidentifier():
        return GraphSpec("store.index.embed", source, attribute)
    return f"{source}:{attribute}"


def _object(name: str, entry: object, keys: set[str]) -> dict[str, Any]:
    if entry is None:
        return {}
    if not isinstance(entry, dict):
        raise ConfigError(f"{name} must be an object.")
    if unknown := entry.keys() - keys:
        raise ConfigError(f"{name} does not know {', '.join(sorted(unknown))}.")
    return entry


def _minutes(name: str, ttl: dict[str, Any]) -> float | None:
    value = ttl.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_MINUTES:
        raise ConfigError(f"store.ttl.{name} must be a number of minutes, at most {MAX_MINUTES}.")
    return float(value)


def _import_paths(dependencies: object, base: Path) -> tuple[Path, ...]:
    if not isinstance(dependencies, list) or not all(isinstance(item, str) for item in dependencies):
        raise ConfigError("dependencies must be a list of strings.")
    local = [item for item in dependencies if item.startswith((".", "/"))]
    for item in local:
        if not (base / item).is_dir():
            raise ConfigError(f"the dependency {item!r} is not a folder.")
    return tuple(dict.fromkeys(_normal(base / item) for item in [*local, "."]))


def _normal(path: Path) -> Path:
    return Path(os.path.normpath(path))


def _environment(env: object, base: Path) -> dict[str, str]:
    if isinstance(env, dict):
        if not all(isinstance(value, str) and _is_variable(name, value) for name, value in env.items()):
            raise ConfigError("env must map names of variables to strings.")
        return dict(env)
    if not isinstance(env, str):
        raise ConfigError("env must be the path of a file or an object of strings.")
    if not (base / env).is_file():
        raise ConfigError(f"the env file {env!r} does not exist.")
    try:
        values = dotenv_values(base / env, encoding="utf-8")
    except UnicodeDecodeError as exc:
        raise ConfigError(f"the env file {env!r} is not UTF-8 text.") from exc
    return {name: value for name, value in values.items() if value is not None and _is_variable(name, value)}


def _is_variable(name: str, value: str) -> bool:
    return bool(name) and "=" not in name and "\0" not in name + value
