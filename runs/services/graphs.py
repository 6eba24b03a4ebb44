"""What the graphs of assistants look like, as JSON: an engine, which has them, is asked.

All raise NotFound for the assistant, Invalid for a graph that can not be loaded, and Unavailable.
"""

from typing import Any

from accounts.tenancy import Tenant
from runs.services.assistants import describable_assistant
from runs.services.questions import ask


def get_graph(tenant: Tenant, name: str, *, xray: bool | int) -> bytes:
    """Nodes and edges; with those of subgraphs, down to a depth if `xray` is a number."""
    return _ask("graph", tenant, name, xray=xray)


def get_schemas(tenant: Tenant, name: str) -> bytes:
    """JSON schemas of what the graph takes and gives."""
    return _ask("schemas", tenant, name)


def get_subgraphs(tenant: Tenant, name: str, *, namespace: str | None, recurse: bool) -> bytes:
    """Schemas of subgraphs by namespace: those of the graph, of all below it too, or of that namespace only."""
    return _ask("subgraphs", tenant, name, namespace=namespace, recurse=recurse)


def _ask(method: str, tenant: Tenant, name: str, **params: Any) -> bytes:
    assistant = describable_assistant(tenant, name)
    server = {"graph_id": assistant.graph_id, "assistant_id": str(assistant.pk)}
    config = {**assistant.config, "configurable": {**assistant.config.get("configurable", {}), **server}}
    return ask(method, tenant, assistant.graph_id, loc=("path", "assistant_id"), config=config, **params)
