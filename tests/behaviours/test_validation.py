"""What a request for a run may hold, and what becomes of it."""

from typing import Any

import httpx
import pytest
from rest_framework.test import APIClient

from accounts.models import User
from runs.models import Run
from tests.api.problems import locs, named
from tests.api.routes import ROUTES, send, title
from tests.api.rows import fingerprint, ids_of, make_rows
from tests.behaviours.asking import frames, new_thread, said, status_of
from tests.factories import make_run, make_thread, tenant_of

#: What clients send although nobody asked them to.
UNASKED: dict[str, Any] = {
    "input": {"messages": []},
    "command": None,
    "config": {"configurable": None, "tags": None, "recursion_limit": None, "metadata": None},
    "context": None,
    "metadata": None,
    "checkpoint": None,
    "checkpoint_id": None,
    "interrupt_before": None,
    "interrupt_after": None,
    "webhook": None,
    "feedback_keys": None,
    "stream_mode": ["values"],
    "stream_subgraphs": False,
    "stream_resumable": False,
    "on_disconnect": None,
    "on_completion": None,
    "multitask_strategy": None,
    "if_not_exists": None,
    "after_seconds": None,
    "durability": None,
    "checkpoint_during": None,
}

CREDENTIALS = [
    *("api_key", "apikey", "apiKey", "API-KEY", "password", "secret", "client_secret", "private_key"),
    *("token", "access_token", "refresh_token", "refreshToken", "Authorization"),
]
#: They only sound like it, or hold nothing.
HARMLESS = {
    **{"token_count": 5, "tokens": "many", "secretary": "Ann", "password_hint": "none", "author": "Bob"},
    **{"token": 5, "secret": True, "password": "", "api_key": None, "authorization": {"by": "Ann"}},
}


@pytest.mark.parametrize("address", ["runs", "runs/stream", "runs/wait"])
@pytest.mark.parametrize("place", ["/threads/mine", "/api/threads/mine", "", "/api"])
def test_what_clients_send_unasked_changes_nothing(api: APIClient, place: str, address: str) -> None:
    assert api.post(f"{place}/{address}", {"assistant_id": "echo", **UNASKED}).status_code == 200
    with_it = Run.objects.get()
    Run.objects.update(status="success")
    bare = {"assistant_id": "echo", "input": {"messages": []}}
    assert api.post(f"{place}/{address}", bare).status_code == 200
    without = Run.objects.exclude(pk=with_it.pk).get()
    for run in (with_it, without):
        run.kwargs["config"]["configurable"] = run.kwargs["config"]["metadata"] = None
    assert with_it.kwargs | {"resumable": None} == without.kwargs | {"resumable": None}
    assert with_it.multitask_strategy == without.multitask_strategy


@pytest.mark.parametrize(
    "field",
    [
        *("multitask_strategy", "on_disconnect", "if_not_exists", "durability", "stream_mode", "webhook"),
        *("assistant_id", "checkpoint", "config", "context", "metadata", "command", "interrupt_before"),
    ],
)
def test_a_number_where_none_belongs_is_refused_as_anything_else(api: APIClient, field: str) -> None:
    response = api.post("/api/runs", {"assistant_id": "echo", field: 5})
    assert response.status_code == 422
    assert named(response, "body", field)


async def test_messages_of_all_kinds_stay_as_they_were_sent(http: httpx.AsyncClient) -> None:
    call = {"id": "c1", "name": "look", "args": {"at": 1}}
    sent: list[dict[str, Any]] = [
        {"type": "system", "id": "m1", "content": "Be kind."},
        {"role": "user", "id": "m2", "content": "Look!", "name": "ann", "additional_kwargs": {"files": [1]}},
        {"role": "assistant", "id": "m3", "content": "", "tool_calls": [call]},
        {"type": "tool", "id": "m4", "content": "seen", "tool_call_id": "c1", "name": "look"},
        {"type": "human", "id": "m5", "content": [{"type": "text", "text": "And now?"}]},
    ]
    body = {"assistant_id": "echo", "input": {"messages": sent}}
    values = (await http.post(f"/threads/{new_thread()}/runs/wait", json=body)).json()
    got = values["messages"][:-1]
    kinds = {"user": "human", "assistant": "ai"}
    for message, asked in zip(got, sent, strict=True):
        kept = {key: value for key, value in asked.items() if key not in ("role", "type", "tool_calls")}
        assert message | kept == message
        assert message["type"] == kinds.get(asked.get("role", ""), asked.get("type"))
    assert got[2]["tool_calls"] == [call | {"type": "tool_call"}]


@pytest.mark.parametrize(
    ("entry", "named_by"),
    [
        ({"role": "nobody", "content": "hello"}, "'nobody'"),
        ({"role": "user"}, "'content'"),
        ({"content": "hello"}, "'role'"),
        (5, "int"),
        (None, "NoneType"),
    ],
)
async def test_an_entry_that_is_no_message_fails_its_run_and_is_named(
    http: httpx.AsyncClient, entry: Any, named_by: str
) -> None:
    """What an input means is known to the graph alone. Nothing of it is kept."""
    thread_id = new_thread()
    body = {"assistant_id": "echo", "input": {"messages": [*said("hello")["messages"], entry]}}
    reply = await http.post(f"/threads/{thread_id}/runs/stream", json=body)
    (_, about), (event, error), end = frames(reply.text)
    assert (event, end) == ("error", ("end", None))
    assert named_by in error["message"]
    assert await status_of(http, thread_id, about["run_id"]) == "error"
    body["input"] = said("again")
    values = (await http.post(f"/threads/{thread_id}/runs/wait", json=body)).json()
    assert [message["content"] for message in values["messages"]] == ["again", "echo: again"]


def test_a_context_is_the_graphs_and_says_nothing_of_who_asks(api: APIClient, alice: User) -> None:
    context = {"user_id": "x", "user_role": "admin", "is_internal": True, "non_interactive": True}
    made = api.post("/api/runs", {"assistant_id": "echo", "context": context}).json()
    run = Run.objects.get()
    assert (run.owner_id, run.organization_id) == (alice.pk, alice.selected_organization_id)
    assert made["kwargs"]["context"] == context
    assert made["kwargs"]["config"]["configurable"]["user_id"] == str(alice.pk)
    assert "user_role" not in made["kwargs"]["config"]["configurable"]


THREAD_ROUTES = [route for route in ROUTES if "{thread_id}" in route.path]


@pytest.mark.parametrize("route", THREAD_ROUTES, ids=title)
def test_a_thread_with_an_id_of_sixty_four_letters_is_like_any_other(
    api: APIClient, alice: User, engine: object, route: Any
) -> None:
    known = ids_of(make_rows(alice, "word"))
    longest = "Aa0_-" * 12 + "long"
    thread = make_thread(tenant_of(alice), thread_id=longest)
    run = make_run(tenant_of(alice), thread, status="success")
    ids = {**known, "thread_id": longest, "run_id": str(run.pk)}
    assert send(api, route, ids, "/api/").status_code in (200, 204, 409)


@pytest.mark.parametrize("odd", ["Aa0_-" * 13, "a%20b", "a.b", ".", "%2e", "a%0a", "%C3%A9", "a%2fb", "%00"])
@pytest.mark.parametrize("address", ["runs", "runs/stream", "runs/wait"])
def test_no_run_makes_a_thread_with_an_id_that_is_none(api: APIClient, odd: str, address: str) -> None:
    before = fingerprint()
    response = api.post(f"/api/threads/{odd}/{address}", {"assistant_id": "echo", "if_not_exists": "create"})
    assert response.status_code == 404
    assert fingerprint() == before


@pytest.mark.parametrize("key", CREDENTIALS)
def test_metadata_keeps_no_credentials(api: APIClient, alice: User, engine: object, key: str) -> None:
    rows = make_rows(alice, "word")
    cron = {"assistant_id": "echo", "schedule": "0 0 1 1 *"}
    before = fingerprint()
    for method, path, body in (
        ("POST", "/threads", {}),
        ("PATCH", f"/threads/{rows.thread.pk}", {}),
        ("POST", "/assistants", {"graph_id": "echo"}),
        ("PATCH", f"/assistants/{rows.assistant.pk}", {}),
        ("POST", f"/threads/{rows.thread.pk}/runs", {"assistant_id": "echo"}),
        ("POST", "/api/runs/stream", {"assistant_id": "echo"}),
        ("POST", "/runs/crons", cron),
        ("PATCH", f"/runs/crons/{rows.cron.pk}", {}),
    ):
        response = api.generic(method, path, _json({**body, "metadata": {"a": 1, key: "sk-7f3d"}}), "application/json")
        assert (response.status_code, locs(response)) == (422, [["body", "metadata"]]), (method, path)
        assert f"'{key}'" in response.json()["detail"][0]["msg"] and b"sk-7f3d" not in response.content
    assert fingerprint() == before
    assert api.post("/threads/search", {"metadata": {key: "sk-7f3d"}}).json() == []


def _json(body: Any) -> bytes:
    return httpx.Request("POST", "http://localhost", json=body).content


def test_metadata_keeps_what_only_sounds_like_a_credential(api: APIClient) -> None:
    assert api.post("/threads", {"metadata": HARMLESS}).json()["metadata"] == HARMLESS
    made = api.post("/runs", {"assistant_id": "echo", "metadata": HARMLESS, "context": {"api_key": "sk-7f3d"}})
    assert made.json()["metadata"] | HARMLESS == made.json()["metadata"]
