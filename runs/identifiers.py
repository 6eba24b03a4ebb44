"""Ids: made here, or by a client and then checked."""

import re
import uuid

from uuid_utils.compat import uuid7

_THREAD_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
#: They stand where a thread's id does in addresses of the API.
_TAKEN = frozenset({"search", "count", "prune"})
_CHECKPOINT_ID = re.compile(r"[!-~]{1,255}")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

#: The name space in which LangGraph servers number the assistant of each graph, so that ids agree between servers.
_GRAPH_NAMESPACE = uuid.UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8")


def new_id() -> uuid.UUID:
    """A time-ordered UUID."""
    return uuid7()


def is_thread_id(text: str) -> bool:
    return _THREAD_ID.fullmatch(text) is not None and text not in _TAKEN


def is_checkpoint_id(text: str) -> bool:
    """Whether a checkpoint could have this id: they are the checkpointer's, in ASCII."""
    return _CHECKPOINT_ID.fullmatch(text) is not None


def is_uuid(text: str) -> bool:
    """Whether `text` is a UUID in its canonical form: lower case, with dashes."""
    return _UUID.fullmatch(text) is not None


def system_assistant_id(graph_id: str) -> uuid.UUID:
    return uuid.uuid5(_GRAPH_NAMESPACE, graph_id)
