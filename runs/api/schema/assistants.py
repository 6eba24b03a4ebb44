from uuid import UUID

from pydantic import AwareDatetime, RootModel

from runs.api.schema.base import Shape
from runs.protocol.requests.base import Json


class Assistant(Shape):
    assistant_id: UUID
    graph_id: str
    config: Json
    context: Json
    metadata: Json
    name: str
    description: str | None
    version: int
    created_at: AwareDatetime
    updated_at: AwareDatetime


class Assistants(RootModel[list[Assistant | Json]]):
    """Whole, or with the keys that `select` names."""
