"""Subscriptions of a socket by their ids. An id holds what its subscription wants, so that every process can restore it
after the socket was cut: nothing is kept for it.
"""

import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode

import orjson
from pydantic import ValidationError

from runs.protocol.requests.events import Subscription

#: Longer ids are neither made nor read.
MAX_LENGTH = 8192
_RANDOM_BYTES = 9
_NOT_OURS = "This is no id of a subscription."
#: `12`, `12.2` for one of several events of a record; `gap.12`, and `state.12-1795160537755` for the state of that
#: moment, which a replay began with.
_EVENT_ID = re.compile(r"(?:[a-z]+\.)?([0-9]{1,16})(?:(\.[0-9]{1,16})|-[0-9]{1,16})?")


def new_id(wanted: Subscription) -> str:
    """A new id for it. Raises ValueError when it wants too much for one."""
    fields = wanted.model_dump(include={"channels", "namespaces", "depth"}, exclude_none=True)
    made = f"{urlsafe_b64encode(orjson.dumps(fields)).rstrip(b'=').decode()}.{secrets.token_urlsafe(_RANDOM_BYTES)}"
    if len(made) > MAX_LENGTH:
        raise ValueError("The subscription names too much; make several of it.")
    return made


def wanted_by(subscription_id: str) -> Subscription:
    """What the subscription with this id wants. Raises ValueError."""
    if len(subscription_id) > MAX_LENGTH:
        raise ValueError(_NOT_OURS)
    filter_, _, _ = subscription_id.partition(".")
    try:
        fields = orjson.loads(urlsafe_b64decode(filter_ + "=" * (-len(filter_) % 4)))
        return Subscription.model_validate(fields)
    except (ValueError, ValidationError):
        raise ValueError(_NOT_OURS) from None


def cursor_of(event_id: str) -> int:
    """After which number a reader goes on whose last event was this one. Raises ValueError.

    Whoever saw one of a record's several events may not have seen the others: the record comes again.
    """
    found = _EVENT_ID.fullmatch(event_id)
    if found is None:
        raise ValueError("This is no id of an event.")
    return max(0, int(found[1]) - 1) if found[2] else int(found[1])
