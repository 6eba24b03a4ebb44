from drf_spectacular.utils import OpenApiParameter
from pydantic import AwareDatetime, RootModel

from runs.api.schema.base import Shape
from runs.protocol.requests.base import Json

NAMESPACE = OpenApiParameter("namespace", str, required=True, description="Its labels, with periods between them.")
KEY = OpenApiParameter("key", str, required=True)
REFRESH = OpenApiParameter("refresh_ttl", bool, description="Let its lifetime begin anew; else as configured.")


class Item(Shape):
    namespace: list[str]
    key: str
    value: Json
    created_at: AwareDatetime
    updated_at: AwareDatetime


class MaybeItem(RootModel[Item | None]):
    """`null` when there is none."""


class FoundItem(Item):
    #: How close in meaning; null unless it was looked for by meaning.
    score: float | None


class FoundItems(Shape):
    items: list[FoundItem]


class Namespaces(Shape):
    namespaces: list[list[str]]
