"""The user on whose behalf a graph is opened, as graph factories of `langgraph_sdk` know users."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class RunUser:
    identity: str
    is_authenticated: bool = True
    permissions: Sequence[str] = ()

    @classmethod
    def of(cls, user_id: uuid.UUID | None) -> Self | None:
        return cls(str(user_id)) if user_id else None

    @property
    def display_name(self) -> str:
        return self.identity

    def __getitem__(self, key: str) -> Any:
        return getattr(self, key)

    def __contains__(self, key: str) -> bool:
        return hasattr(self, key)

    def __iter__(self) -> Any:
        return iter(("identity", "is_authenticated", "permissions", "display_name"))
