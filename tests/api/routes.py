"""Every route of the API, as the tests of all of them need it: how to call it, and what that takes."""

from typing import Any, NamedTuple

import orjson
from rest_framework.test import APIClient

#: A run on a thread that must be there.
RUN = {"assistant_id": "echo", "input": {}, "if_not_exists": "reject"}
#: Of an item in the store.
PLACE = {"namespace": ["a", "b"], "key": "c"}

#: A cron that is never due while the tests run.
CRON = {"assistant_id": "echo", "schedule": "0 0 29 2 *"}
COMMAND = {"id": 1, "method": "state.get", "params": {"namespace": []}}


class Route(NamedTuple):
    method: str
    path: str
    needs: str
    body: Any = None
    #: What a member of the organization is answered where the thread is shared.
    shared: int = 200
    #: Whether it answers what is in the rows, not only how much.
    shows: bool = True
    #: What the address does not answer without.
    query: str = ""
    #: What a stranger is answered, as for an id that nobody has.
    hidden: int = 404

    @property
    def is_command(self) -> bool:
        """Whether it says what is wrong in the words of the Agent Streaming Protocol."""
        return self.path.endswith("/commands")

    @property
    def names_ids(self) -> bool:
        """Whether somebody else's rows could be reached by the ids in it."""
        return "_id}" in f"{self.path}{self.body}"

    @property
    def prefixes(self) -> tuple[str, ...]:
        """What stands before its path: the API of accounts is not LangGraph's, and stands under /api alone."""
        return PREFIXES[1:] if self.path.startswith("v1/") else PREFIXES

    @property
    def address(self) -> str:
        """As it is documented."""
        return self.prefixes[0] + self.path


ROUTES = [
    Route("POST", "assistants", "threads:write", {"graph_id": "echo"}),
    Route("POST", "assistants/search", "threads:read", {}),
    Route("POST", "assistants/count", "threads:read", {}, shows=False),
    Route("GET", "assistants/{assistant_id}", "threads:read"),
    Route("PATCH", "assistants/{assistant_id}", "threads:write", {"metadata": {"a": 1}}),
    Route("DELETE", "assistants/{assistant_id}", "threads:write", shared=204),
    Route("POST", "assistants/{assistant_id}/versions", "threads:read", {}),
    Route("POST", "assistants/{assistant_id}/latest", "threads:write", {"version": 1}),
    Route("GET", "assistants/{assistant_id}/graph", "threads:read"),
    Route("GET", "assistants/{assistant_id}/schemas", "threads:read"),
    Route("GET", "assistants/{assistant_id}/subgraphs", "threads:read"),
    Route("GET", "assistants/{assistant_id}/subgraphs/{namespace}", "threads:read"),
    Route("POST", "threads", "threads:write", {}),
    Route("POST", "threads/search", "threads:read", {}),
    Route("POST", "threads/count", "threads:read", {}, shows=False),
    Route("GET", "threads/{thread_id}", "threads:read"),
    Route("PATCH", "threads/{thread_id}", "threads:write", {"metadata": {"a": 1}}),
    Route("DELETE", "threads/{thread_id}", "threads:delete", shared=204),
    Route("POST", "threads/prune", "threads:delete", {"thread_ids": []}),
    Route("POST", "threads/{thread_id}/copy", "threads:write", {}),
    Route("GET", "threads/{thread_id}/storage", "threads:read", shows=False),
    Route("GET", "threads/{thread_id}/stream", "threads:read"),
    # Its errors are answers.
    Route("POST", "threads/{thread_id}/commands", "threads:read", COMMAND, hidden=200),
    # It opens for a thread that is not there, and brings nothing until it is: see test_event_streams.py.
    Route("POST", "threads/{thread_id}/stream/events", "threads:read", {"channels": ["values"]}, hidden=200),
    Route("GET", "threads/{thread_id}/state", "threads:read"),
    Route("POST", "threads/{thread_id}/state", "threads:write", {"values": {"a": 1}}),
    Route("POST", "threads/{thread_id}/state/checkpoint", "threads:read", {"checkpoint": {}}),
    Route("GET", "threads/{thread_id}/state/{checkpoint_id}", "threads:read"),
    Route("GET", "threads/{thread_id}/history", "threads:read"),
    Route("POST", "threads/{thread_id}/history", "threads:read", {}),
    Route("GET", "threads/{thread_id}/messages", "threads:read"),
    Route("GET", "threads/{thread_id}/messages/page", "threads:read"),
    Route("GET", "threads/{thread_id}/token-usage", "threads:read"),
    Route("GET", "threads/{thread_id}/runs", "runs:read"),
    Route("POST", "threads/{thread_id}/runs", "runs:create", RUN),
    Route("POST", "threads/{thread_id}/runs/stream", "runs:create", RUN),
    Route("POST", "threads/{thread_id}/runs/wait", "runs:create", RUN),
    Route("GET", "threads/{thread_id}/runs/{run_id}", "runs:read"),
    Route("DELETE", "threads/{thread_id}/runs/{run_id}", "runs:cancel", shared=204),
    Route("GET", "threads/{thread_id}/runs/{run_id}/join", "runs:read"),
    Route("GET", "threads/{thread_id}/runs/{run_id}/stream", "runs:read"),
    Route("POST", "threads/{thread_id}/runs/{run_id}/stream", "runs:read"),
    # The run has ended.
    Route("POST", "threads/{thread_id}/runs/{run_id}/cancel", "runs:cancel", shared=409),
    Route("POST", "threads/{thread_id}/runs/crons", "runs:create", CRON),
    Route("POST", "runs/crons", "runs:create", CRON | {"assistant_id": "{assistant_id}"}),
    Route("POST", "runs/crons/search", "runs:read", {}),
    Route("POST", "runs/crons/count", "runs:read", {}, shows=False),
    Route("GET", "runs/crons/{cron_id}", "runs:read"),
    # It runs in its owner's name.
    Route("PATCH", "runs/crons/{cron_id}", "runs:create", {"enabled": False}, shared=403),
    Route("DELETE", "runs/crons/{cron_id}", "runs:cancel", shared=204),
    Route("GET", "threads/{thread_id}/runs/{run_id}/messages", "runs:read"),
    Route("GET", "threads/{thread_id}/runs/{run_id}/events", "runs:read"),
    Route("GET", "runs/{run_id}/messages", "runs:read"),
    Route("POST", "runs", "runs:create", RUN | {"assistant_id": "{assistant_id}"}),
    Route("POST", "runs/stream", "runs:create", RUN | {"assistant_id": "{assistant_id}"}),
    Route("POST", "runs/wait", "runs:create", RUN | {"assistant_id": "{assistant_id}"}),
    Route("POST", "runs/batch", "runs:create", [RUN | {"thread_id": "{thread_id}"}]),
    Route("POST", "runs/cancel", "runs:cancel", {"run_ids": ["{run_id}"]}, shared=204),
    Route("GET", "runs/{run_id}", "runs:read"),
    Route("DELETE", "runs/{run_id}", "runs:cancel", shared=204),
    Route("GET", "runs/{run_id}/join", "runs:read"),
    Route("GET", "runs/{run_id}/stream", "runs:read"),
    Route("POST", "runs/{run_id}/stream", "runs:read"),
    # The run has ended.
    Route("POST", "runs/{run_id}/cancel", "runs:cancel", shared=409),
    Route("PUT", "store/items", "threads:write", PLACE | {"value": {"a": 1}}, shared=204),
    Route("GET", "store/items", "threads:read", query="?namespace=a.b&key=c"),
    Route("DELETE", "store/items", "threads:write", PLACE, shared=204),
    Route("POST", "store/items/search", "threads:read", {"namespace_prefix": []}),
    Route("POST", "store/namespaces", "threads:read", {}),
    Route("POST", "v1/auth/ws-ticket", "threads:read", {}, shows=False),
]

PREFIXES = ("/", "/api/")


def title(route: Route) -> str:
    return f"{route.method} {route.path}"


def send(client: APIClient, route: Route, ids: dict[str, str], prefix: str = "") -> Any:
    body = _filled(route.body or {}, ids)
    return client.generic(
        route.method,
        (prefix or route.prefixes[0]) + route.path.format(**ids) + route.query,
        orjson.dumps(body) if route.body is not None else b"",
        content_type="application/json" if route.body is not None else "",
    )


def _filled(body: Any, ids: dict[str, str]) -> Any:
    if isinstance(body, dict):
        return {key: _filled(value, ids) for key, value in body.items()}
    if isinstance(body, list):
        return [_filled(value, ids) for value in body]
    return body.format(**ids) if isinstance(body, str) else body


def bytes_of(response: Any) -> bytes:
    """All that a client is sent, without what a stream would still bring."""
    head = "\n".join(f"{name}: {value}" for name, value in sorted(response.items()))
    body = b"" if response.streaming else response.content
    return f"{response.status_code}\n{head}\n".encode() + body
