from typing import Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, RootModel

from runs.api.schema.base import Shape
from runs.protocol.requests.base import Json


class AssistantVersion(Shape):
    assistant_id: UUID
    graph_id: str
    config: Json
    context: Json
    metadata: Json
    name: str
    description: str | None
    version: int
    created_at: AwareDatetime


class AssistantVersions(RootModel[list[AssistantVersion]]):
    pass


class Assistant(AssistantVersion):
    updated_at: AwareDatetime


class Assistants(RootModel[list[Assistant | Json]]):
    """Whole, or with the keys that `select` names."""


class Node(BaseModel):
    id: str | int
    type: str | None = None
    data: Any = None
    metadata: Json | None = None


class Edge(BaseModel):
    source: str | int
    target: str | int
    data: Any = None
    conditional: bool = False


class Drawing(Shape):
    nodes: list[Node]
    edges: list[Edge]


class GraphSchemas(Shape):
    """JSON schemas; null where the graph names none, or none that can be made."""

    graph_id: str
    input_schema: Json | None
    output_schema: Json | None
    state_schema: Json | None
    config_schema: Json | None
    context_schema: Json | None


class Subgraphs(RootModel[dict[str, GraphSchemas]]):
    """By namespace; those of nodes in subgraphs as `outer|inner`."""
