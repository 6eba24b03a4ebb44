"""What a socket is asked about its subscriptions."""

from typing import Annotated

from pydantic import Field, StringConstraints

from runs.protocol.requests.base import Body

SubscriptionId = Annotated[str, StringConstraints(min_length=1, max_length=8192)]
_MAX_SUBSCRIPTIONS = 1000


class Unsubscribe(Body):
    subscription_id: SubscriptionId


class Reconnect(Body):
    """Restore subscriptions of a socket that was cut, after the last event that came by it."""

    run_id: Annotated[str, StringConstraints(max_length=64)]
    last_event_id: Annotated[str, StringConstraints(max_length=64)] | None = None
    subscriptions: Annotated[list[SubscriptionId], Field(max_length=_MAX_SUBSCRIPTIONS, fail_fast=True)] = []
