"""The events of a thread as the Agent Streaming Protocol shows them."""

from typing import NamedTuple


class Event(NamedTuple):
    """One event on its way to a reader."""

    #: Where a reader goes on that has seen it: all that the log tells up to this number was shown.
    seq: int
    method: str
    #: The whole event as JSON.
    body: bytes
