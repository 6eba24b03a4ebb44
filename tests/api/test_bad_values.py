"""Values that nobody means, in every place that takes one: refused by name, in few bytes, and nothing is written."""

from typing import Any

import orjson
import pytest
from rest_framework.test import APIClient

from accounts.models import User
from tests.api.engine import FakeEngine
from tests.api.rows import Rows, fingerprint, ids_of, make_rows

CRON: dict[str, Any] = {"assistant_id": "echo", "schedule": "0 0 29 2 *"}
RUN: dict[str, Any] = {"assistant_id": "echo", "input": {}}
PLACE: dict[str, Any] = {"namespace": ["a"], "key": "k"}
UPDATE: dict[str, Any] = {"values": {"steps": [1]}, "as_node": "say"}
SEEDED: dict[str, Any] = {"metadata": {"graph_id": "echo"}}

#: Method, path, body, and the field that is at fault.
BAD: list[tuple[str, str, Any, str]] = [
    # Threads.
    *(
        ("POST", "threads", {"ttl": ttl}, "ttl")
        for ttl in (0, -1, -0.0, 1e308, 2**63 - 1, True, "1", [], {}, {"ttl": 0}, {"ttl": 1, "strategy": "x"}, {"x": 1})
    ),
    ("PATCH", "threads/{thread_id}", {"ttl": -5}, "ttl"),
    ("PATCH", "threads/{thread_id}", {"metadata": {"a": 1}, "ttl": {"ttl": 1e308}}, "ttl"),
    *(
        ("POST", "threads", SEEDED | {"supersteps": supersteps}, "supersteps")
        for supersteps in (
            [{"updates": [UPDATE]}] * 1001,
            [{"updates": [UPDATE]}] * 10_000,
            [{"updates": [UPDATE] * 101}],
            [{"updates": []}],
            [{}],
            [[]],
            [1] * 1000,
            [{"updates": [{"values": 1, "as_node": "say"}]}],
            [{"updates": [{"values": {}}]}],
            [{"updates": [{"values": {}, "as_node": ""}]}],
            [{"updates": [{"values": {}, "as_node": "x" * 256}]}],
            [{"updates": [{"values": {"a": 1}, "as_node": "say", "command": {"resume": 1}}]}],
        )
    ),
    *(
        ("POST", "threads", {"metadata": {"graph_id": graph_id}, "supersteps": [{"updates": [UPDATE]}]}, "graph_id")
        for graph_id in ("nope", 5, ["echo"], None, "x" * 10_000)
    ),
    ("POST", "threads/prune", {"thread_ids": ["x"] * 1001}, "thread_ids"),
    ("POST", "threads/prune", {"thread_ids": [1]}, "thread_ids"),
    ("POST", "threads/prune", {"thread_ids": "{thread_id}"}, "thread_ids"),
    ("POST", "threads/prune", {"thread_ids": ["{thread_id}"], "strategy": "shred"}, "strategy"),
    ("POST", "threads/{thread_id}/copy", {"thread_id": "mine"}, "thread_id"),
    *(
        ("POST", "threads/search", {"extract": extract}, "extract")
        for extract in (
            [],
            {"a": 1},
            {"a": "owner.password"},
            {"a": "values..x"},
            {"a": "values[9999999999]"},
            {"a": "values[0"},
            {"a": "values.x]"},
            {"a": "values" + ".x" * 126},
            {"a": "x" * 1_000_000},
            {"a" * 256: "values"},
            {str(number): "values" for number in range(11)},
        )
    ),
    ("POST", "threads/search", {"values": {str(number): 1 for number in range(51)}}, "values"),
    ("POST", "threads/count", {"values": []}, "values"),
    ("POST", "threads/count", {"ids": ["x"] * 1001}, "ids"),
    ("POST", "threads/count", {"limit": 1}, "limit"),
    ("POST", "threads/{thread_id}/history", {"metadata": {"a b": 1}}, "metadata"),
    ("POST", "threads/{thread_id}/history", {"metadata": {"": 1}}, "metadata"),
    ("POST", "threads/{thread_id}/history", {"limit": 10**6}, "limit"),
    ("POST", "threads/{thread_id}/history", {"before": {"checkpoint_id": 5}}, "before"),
    ("POST", "threads/{thread_id}/history", {"before": {"configurable": []}}, "before"),
    ("POST", "threads/{thread_id}/history", {"select": ["owner"]}, "select"),
    ("POST", "threads/{thread_id}/state/checkpoint", {"checkpoint": {"checkpoint_map": []}}, "checkpoint_map"),
    ("POST", "threads/{thread_id}/state/checkpoint", {"checkpoint": {"checkpoint_ns": "x" * 1025}}, "checkpoint_ns"),
    # Assistants.
    *(
        ("POST", "assistants/{assistant_id}/latest", {"version": version}, "version")
        for version in (0, -1, 2**31, 2**63 - 1, True, "1", 1.0, None)
    ),
    ("POST", "assistants/{assistant_id}/latest", {}, "version"),
    ("POST", "assistants/{assistant_id}/versions", {"limit": 0}, "limit"),
    ("POST", "assistants/{assistant_id}/versions", {"offset": 2**31 + 1}, "offset"),
    ("POST", "assistants/{assistant_id}/versions", {"metadata": []}, "metadata"),
    # Crons.
    *(
        ("POST", path, CRON | {"schedule": schedule}, "schedule")
        for path in ("runs/crons", "threads/{thread_id}/runs/crons")
        for schedule in (
            "",
            "x" * 10_000,
            "* * * * * * *",
            "* * * *",
            "60 * * * *",
            "*/0 * * * *",
            "0 0 30 2 *",
            "\u0663 * * * *",
            "\u00b2 * * * *",
            "-1 * * * *",
            "%s %s %s %s %s",
            5,
            None,
        )
    ),
    ("PATCH", "runs/crons/{cron_id}", {"schedule": "0 0 30 2 *"}, "schedule"),
    *(
        ("POST", "runs/crons", CRON | {"timezone": zone}, "timezone")
        for zone in ("../../etc/passwd", "/etc/passwd", "Europe/../UTC", "Europe/Berlin ", "x" * 65, "x" * 10_000, 5)
    ),
    *(
        ("POST", "runs/crons", CRON | {"end_time": end}, "end_time")
        for end in (
            *("0000-01-01", "+99999-01-01T00:00:00Z", "2030-06-30T23:59:60Z", "2030-01-01T00:00:00", "2030-01-01"),
            *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2020-01-01T00:00:00Z", "x" * 10_000),
            *(5, 1e308, True, []),
        )
    ),
    ("POST", "runs/crons/search", {"thread_id": "x" * 10_000}, "thread_id"),
    ("POST", "runs/crons/search", {"assistant_id": "x" * 65}, "assistant_id"),
    ("POST", "runs/crons/search", {"sort_by": "owner__password"}, "sort_by"),
    ("POST", "runs/crons/count", {"enabled": "yes"}, "enabled"),
    # Several runs.
    ("POST", "runs/batch", [RUN] * 101, "body"),
    ("POST", "runs/batch", [RUN] * 10_000, "body"),
    ("POST", "runs/batch", [], "body"),
    ("POST", "runs/batch", [RUN, 1], "body"),
    ("POST", "runs/batch", [RUN, RUN | {"thread_id": "x" * 10_000}], "thread_id"),
    ("POST", "runs/batch", [RUN, RUN | {"thread_id": ""}], "thread_id"),
    ("POST", "runs/cancel", {}, "body"),
    ("POST", "runs/cancel", {"run_ids": []}, "run_ids"),
    ("POST", "runs/cancel", {"run_ids": ["{run_id}"] * 101}, "run_ids"),
    ("POST", "runs/cancel", {"run_ids": [1]}, "run_ids"),
    ("POST", "runs/cancel", {"run_ids": ["{run_id}"], "status": "all"}, "body"),
    ("POST", "runs/cancel", {"status": "success"}, "status"),
    ("POST", "runs/cancel", {"status": "all", "thread_id": "x" * 65}, "thread_id"),
    # The store.
    *(
        ("PUT", "store/items", PLACE | {"value": {}, "ttl": ttl}, "ttl")
        for ttl in (0, -1, 1e308, True, "1", {"ttl": 1})
    ),
    *(
        ("PUT", "store/items", PLACE | {"value": {}, "namespace": namespace}, "namespace")
        for namespace in ([], [""], ["a.b"], ["langgraph"], ["x" * 1025], ["é" * 513], ["a"] * 21, [1], "a", None)
    ),
    *(("PUT", "store/items", PLACE | {"value": {}, "key": key}, "key") for key in ("", "x" * 1025, "é" * 513, 5, None)),
    *(("PUT", "store/items", PLACE | {"value": value}, "value") for value in (None, [], "x", {"a": "x" * 2**20})),
    ("PUT", "store/items", PLACE | {"value": {}, "index": [""]}, "index"),
    ("PUT", "store/items", PLACE | {"value": {}, "index": ["x"] * 51}, "index"),
    ("DELETE", "store/items", PLACE | {"namespace": []}, "namespace"),
    ("DELETE", "store/items", PLACE | {"surprise": 1}, "surprise"),
    ("POST", "store/items/search", {"namespace_prefix": [], "filter": {"a'b": 1}}, "filter"),
    ("POST", "store/items/search", {"namespace_prefix": [], "filter": {"a": {"$regex": "(a+)+$"}}}, "filter"),
    ("POST", "store/items/search", {"namespace_prefix": [], "filter": {"a": {"$gt": []}}}, "filter"),
    ("POST", "store/items/search", {"namespace_prefix": [], "query": "x" * 10_001}, "query"),
    ("POST", "store/items/search", {"namespace_prefix": ["a.b"]}, "namespace_prefix"),
    ("POST", "store/namespaces", {"max_depth": 0}, "max_depth"),
    ("POST", "store/namespaces", {"suffix": [""]}, "suffix"),
]


@pytest.fixture
def rows(alice: User, client: APIClient, engine: FakeEngine) -> Rows:
    return make_rows(alice, "alice")


def filled(body: Any, ids: dict[str, str]) -> Any:
    if isinstance(body, dict):
        return {key: filled(value, ids) for key, value in body.items()}
    if isinstance(body, list):
        return [filled(value, ids) for value in body]
    return ids.get(body[1:-1], body) if isinstance(body, str) else body


@pytest.mark.parametrize(
    ("method", "path", "body", "field"), BAD, ids=[f"{method} {path} {body}"[:90] for method, path, body, _ in BAD]
)
def test_a_value_that_can_not_be_is_named(
    client: APIClient, rows: Rows, engine: FakeEngine, method: str, path: str, body: Any, field: str
) -> None:
    ids = ids_of(rows)
    before = fingerprint()
    response = client.generic(
        method, f"/{path.format(**ids)}", orjson.dumps(filled(body, ids)), content_type="application/json"
    )
    assert response.status_code == 422
    assert len(response.content) <= 4096
    assert any(field in problem["loc"] for problem in response.json()["detail"]), response.json()
    assert fingerprint() == before
    assert engine.questions == []
