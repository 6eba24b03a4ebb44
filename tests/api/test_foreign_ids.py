"""Ids of somebody else's rows in every place of a request where an id can stand: they are as good as none."""

from typing import Any

import orjson
import pytest
from rest_framework.test import APIClient

from accounts.models import Organization, User
from tests.api.engine import FakeEngine
from tests.api.rows import Rows, fingerprint, ids_of, make_rows, unknown_ids
from tests.factories import api_client

CANARY = "canary-7f3d"
RUN: dict[str, Any] = {"assistant_id": "echo", "input": {}, "if_not_exists": "reject"}
CRON: dict[str, Any] = {"assistant_id": "echo", "schedule": "0 0 29 2 *"}
CHECKPOINT = {"checkpoint": {"thread_id": "{thread_id}", "checkpoint_id": "1"}}

#: Method, path and body; `{own}` is the caller's own thread, and `{own_run}`, `{own_cron}` theirs too.
PLACES: list[tuple[str, str, Any]] = [
    *(
        ("POST", path, body)
        for path in ("runs", "runs/stream", "runs/wait")
        for body in (
            RUN | {"assistant_id": "{assistant_id}"},
            RUN | {"config": {"configurable": {"thread_id": "{thread_id}"}}},
            RUN | {"config": {"configurable": {"assistant_id": "{assistant_id}"}}},
        )
    ),
    *(
        ("POST", path, RUN | body)
        for path in ("threads/{own}/runs", "threads/{own}/runs/stream", "threads/{own}/runs/wait")
        for body in (
            {"assistant_id": "{assistant_id}"},
            {"config": {"configurable": {"thread_id": "{thread_id}"}}},
            CHECKPOINT,
        )
    ),
    ("POST", "runs/batch", [RUN, RUN | {"thread_id": "{thread_id}"}]),
    ("POST", "runs/batch", [RUN, RUN | {"assistant_id": "{assistant_id}"}]),
    ("POST", "runs/batch", [RUN, RUN | {"config": {"configurable": {"thread_id": "{thread_id}"}}}]),
    ("POST", "runs/cancel", {"run_ids": ["{run_id}"]}),
    ("POST", "runs/cancel", {"run_ids": ["{own_run}", "{run_id}"]}),
    ("POST", "runs/cancel", {"run_ids": ["{own_run}"], "thread_id": "{thread_id}"}),
    ("POST", "runs/cancel", {"status": "all", "thread_id": "{thread_id}"}),
    ("POST", "threads/prune", {"thread_ids": ["{thread_id}"]}),
    ("POST", "threads/prune", {"thread_ids": ["{thread_id}"], "strategy": "keep_latest"}),
    ("POST", "threads/search", {"ids": ["{thread_id}"]}),
    ("POST", "threads/search", {"metadata": {"assistant_id": "{assistant_id}"}}),
    ("POST", "threads/search", {"metadata": {"word": CANARY}, "extract": {"a": "values.word"}}),
    ("POST", "threads/search", {"values": {"word": CANARY}}),
    ("POST", "threads/count", {"ids": ["{thread_id}"]}),
    ("POST", "threads/count", {"values": {"word": CANARY}}),
    ("POST", "assistants/search", {"metadata": {"word": CANARY}}),
    ("POST", "assistants/search", {"name": CANARY}),
    ("POST", "assistants/count", {"metadata": {"word": CANARY}}),
    ("POST", "threads/{own}/state/checkpoint", CHECKPOINT),
    ("POST", "threads/{own}/state", {"values": {}} | CHECKPOINT),
    ("POST", "threads/{own}/history", CHECKPOINT),
    ("POST", "threads/{own}/history", {"before": CHECKPOINT["checkpoint"]}),
    ("GET", "threads/{own}/runs/{run_id}", None),
    ("GET", "threads/{thread_id}/runs/{own_run}", None),
    ("GET", "threads/{own}/runs/{run_id}/stream?action=interrupt", None),
    ("POST", "threads/{own}/runs/{run_id}/cancel?wait=1", None),
    ("DELETE", "threads/{own}/runs/{run_id}", None),
    ("DELETE", "assistants/{assistant_id}?delete_threads=1", None),
    ("POST", "runs/crons", CRON | {"assistant_id": "{assistant_id}"}),
    ("POST", "runs/crons", CRON | {"config": {"configurable": {"thread_id": "{thread_id}"}}}),
    ("POST", "threads/{own}/runs/crons", CRON | {"assistant_id": "{assistant_id}"}),
    ("POST", "threads/{own}/runs/crons", CRON | {"config": {"configurable": {"thread_id": "{thread_id}"}}}),
    ("PATCH", "runs/crons/{own_cron}", {"config": {"configurable": {"thread_id": "{thread_id}"}}}),
    ("POST", "runs/crons/search", {"thread_id": "{thread_id}"}),
    ("POST", "runs/crons/search", {"assistant_id": "{assistant_id}"}),
    ("POST", "runs/crons/search", {"metadata": {"word": CANARY}}),
    ("POST", "runs/crons/count", {"thread_id": "{thread_id}"}),
    ("POST", "runs/crons/count", {"assistant_id": "{assistant_id}"}),
]


def filled(body: Any, ids: dict[str, str]) -> Any:
    if isinstance(body, dict):
        return {key: filled(value, ids) for key, value in body.items()}
    if isinstance(body, list):
        return [filled(value, ids) for value in body]
    return body.format(**ids) if isinstance(body, str) else body


def answer(client: APIClient, place: tuple[str, str, Any], ids: dict[str, str]) -> tuple[int, bytes]:
    method, path, body = place
    response = client.generic(
        method,
        f"/{path.format(**ids)}",
        b"" if body is None else orjson.dumps(filled(body, ids)),
        content_type="application/json",
    )
    assert not response.streaming
    return response.status_code, response.content


@pytest.fixture
def private(alice: User, acme: Organization, graphs: object, engine: FakeEngine) -> Rows:
    return make_rows(alice, CANARY, shared=False)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place[0]} {place[1]} {place[2]}"[:120])
def test_somebody_elses_id_is_as_good_as_none(
    private: Rows, charlie: User, bob: User, engine: FakeEngine, place: tuple[str, str, Any]
) -> None:
    """A colleague finds shared assistants, so only a stranger is asked about those."""
    for user in (
        (charlie, bob) if "assistant" not in f"{place[1:]}".replace("'assistant_id': 'echo'", "") else (charlie,)
    ):
        own = make_rows(user, "own")
        mine = {"own": own.thread.pk, "own_run": str(own.run.pk), "own_cron": str(own.cron.pk)}
        before = fingerprint()
        client = api_client(user)
        foreign = answer(client, place, ids_of(private) | mine)
        assert foreign == answer(client, place, unknown_ids() | mine)
        assert foreign[0] in (200, 404, 422)
        assert foreign[1] in (b"[]", b"0", b'{"pruned_count":0}') or foreign[0] != 200
        assert CANARY.encode() not in foreign[1]
        assert fingerprint() == before
        assert private.thread.pk not in str(engine.questions)
