"""What a client may ask for, checked: the bodies of the LangGraph API.

A field that is not known here is an error that names it; nothing is dropped. `None` means that the client did not say.
"""

from itertools import islice
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from runs.identifiers import is_thread_id, is_uuid

Json = dict[str, Any]
#: Keys and values that rows must have; each is a condition of the query.
Filter = Annotated[Json, Field(max_length=50)]
#: Graphs around a checkpoint; each is looked at.
_MAX_PLACES = 20
#: Fields of one object that are not known and yet named.
_MAX_UNKNOWN = 20

#: Keys of `config.configurable` that only the server sets.
_RESERVED = frozenset(
    {"run_id", "user_id", "organization_id", "assistant_id", "graph_id", "run_attempt", "checkpoint_ns"}
)
#: Keys whose texts are credentials, without case, '_' and '-'.
_CREDENTIALS = frozenset(
    {
        *("apikey", "password", "secret", "clientsecret", "privatekey"),
        *("token", "accesstoken", "refreshtoken", "authorization"),
    }
)


def _without_credentials(metadata: Json) -> Json:
    for key, value in metadata.items():
        if isinstance(value, str) and value and key.replace("_", "").replace("-", "").lower() in _CREDENTIALS:
            raise ValueError(f"'{key[:100]}' names a credential; metadata keeps none, a 'context' may")
    return metadata


#: What callers keep with a row: it is searched, copied into each checkpoint and shown to whoever sees the row.
Metadata = Annotated[Json, AfterValidator(_without_credentials)]


def is_reserved(key: str) -> bool:
    """Whether only the server sets this key of `configurable`."""
    return key in _RESERVED or key.startswith(("__", "langgraph_"))


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _with_few_that_are_unknown(cls, data: Any) -> Any:
        """Each is an error of its own, and a body can hold hundreds of thousands: the first of them say enough."""
        if cls.model_config.get("extra") != "forbid" or not isinstance(data, dict):
            return data
        if len(data) <= len(cls.model_fields) + _MAX_UNKNOWN:
            return data
        known = {name for field, info in cls.model_fields.items() for name in (field, info.alias)}
        unknown = islice((key for key in data if key not in known), _MAX_UNKNOWN)
        return {key: data[key] for key in (*(known & data.keys()), *unknown)}


def check_thread_id(value: str | None) -> str | None:
    if value is not None and not is_thread_id(value):
        raise ValueError("must be a UUID, or 1 to 64 letters, digits, '_' and '-'")
    return value


def check_uuid(value: str | None) -> str | None:
    if value is not None and not is_uuid(value):
        raise ValueError("must be a UUID")
    return value


class Nothing(Body):
    """The body of what takes none: empty, or an empty object."""


class CheckpointBody(Body):
    thread_id: str | None = None
    checkpoint_id: str | None = Field(default=None, max_length=255)
    checkpoint_ns: str | None = Field(default=None, max_length=1024)
    #: Of a graph inside another: the checkpoints of both, and of those between, by their namespaces.
    checkpoint_map: Annotated[dict[str, str], Field(max_length=_MAX_PLACES)] | None = None


class ConfigBody(Body):
    tags: list[Annotated[str, StringConstraints(max_length=255)]] | None = Field(default=None, max_length=100)
    recursion_limit: int | None = Field(default=None, ge=1, le=10_000)
    max_concurrency: int | None = Field(default=None, ge=1, le=10_000)
    run_name: str | None = Field(default=None, max_length=255)
    configurable: Json | None = None
    metadata: Json | None = None

    @field_validator("configurable")
    @classmethod
    def _no_reserved_keys(cls, value: Json | None) -> Json | None:
        for key in value or {}:
            if is_reserved(key):
                raise ValueError(f"'{key[:100]}' is set by the server")
        for key, kind, name in (
            ("thread_id", str, "a string"),
            ("checkpoint_id", str, "a string"),
            ("checkpoint_map", dict, "an object"),
        ):
            if value and not isinstance(value.get(key), kind | None):
                raise ValueError(f"'{key}' must be {name}")
        places = (value or {}).get("checkpoint_map") or {}
        if len(places) > _MAX_PLACES or not all(isinstance(place, str) for place in places.values()):
            raise ValueError(f"'checkpoint_map' must hold up to {_MAX_PLACES} strings")
        return value


class Search(Body):
    metadata: Filter | None = None
    limit: int = Field(default=10, ge=1, le=1000)
    offset: int = Field(default=0, ge=0, le=2**31)
    sort_order: Literal["asc", "desc"] | None = None
