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
class GraphConfig:
    """What this server takes from a langgraph.json, paths absolute. The built-in graph is always among `graphs`."""

    graphs: Mapping[str, GraphSpec]
    import_paths: tuple[Path, ...] = ()
    #: May hold keys of model providers, so it stays out of logs.
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    webhooks: WebhookConfig = field(default_factory=WebhookConfig)
    #: Keys of the file that this server does not act upon.
    ignored: tuple[str, ...] = ()


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
    except (ConfigError, BadWebhooks) as exc:
        raise ConfigError(f"{path}: {exc}") from exc
    ignored = document.keys() - BUILD_KEYS - {"graphs", "dependencies", "env", "webhooks"}
    return GraphConfig(graphs, import_paths, env, webhooks, tuple(sorted(ignored)))


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
