"""Subscriptions to the events of a thread, by the Agent Streaming Protocol."""

from typing import Annotated

from pydantic import Field, StringConstraints, field_validator

from runs.protocol.requests.base import Body
from runs.protocol.selection import CHANNELS, Selection, is_channel, selection

#: The largest number that JavaScript can count with.
MAX_SEQ = 2**53 - 1

Channel = Annotated[str, StringConstraints(max_length=255)]
Step = Annotated[str, StringConstraints(max_length=255)]
Place = Annotated[list[Step], Field(max_length=50, fail_fast=True)]


class Subscription(Body):
    """What to deliver."""

    channels: Annotated[list[Channel], Field(min_length=1, max_length=50, fail_fast=True)]
    namespaces: Annotated[list[Place], Field(max_length=100, fail_fast=True)] | None = None
    depth: int | None = Field(default=None, ge=0, le=1000)
    #: The number of the last event that the reader has.
    since: int | None = Field(default=None, ge=0, le=MAX_SEQ)

    @field_validator("channels")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        for name in value:
            if not is_channel(name):
                raise ValueError(f"'{name[:100]}' is none of {', '.join(sorted(CHANNELS))} and custom:<name>")
        return value

    @property
    def selection(self) -> Selection:
        return selection(self.channels, self.namespaces, self.depth)
