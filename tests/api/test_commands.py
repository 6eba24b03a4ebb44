"""Commands of the Agent Streaming Protocol: what all of them have in common."""

import json
from typing import Any

import pytest
from django.conf import settings as site
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.test import APIClient

from accounts.models import Role, User
from accounts.services import add_member
from runs.calls import CallRefused, NoEngine
from runs.identifiers import new_id
from runs.models import Graph, Run, Thread
from runs.protocol.commands import ErrorCode
from tests.api.commanding import ASK, CHECKPOINT, SAID, refused, waits
from tests.api.rows import fingerprint
from tests.api.test_bad_addresses import ODD_IDS
from tests.api.test_fuzz import bodies, within_one_test
from tests.factories import api_client, make_thread, tenant_of

# Envelopes.


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, None),
        ([], None),
        ("run.start", None),
        ({"method": "run.start"}, None),
        ({"id": 3}, 3),
        ({"id": "3", "method": "run.start"}, None),
        ({"id": True, "method": "run.start"}, None),
        ({"id": -1, "method": "run.start"}, None),
        ({"id": 2**53, "method": "run.start"}, None),
        ({"id": 3, "method": 3}, 3),
        ({"id": 3, "method": ""}, 3),
        ({"id": 3, "method": "run.start", "params": []}, 3),
        ({"id": 3, "method": "run.start", "params": None}, 3),
    ],
    ids=str,
)
def test_what_is_no_command_is_said_to_be_none(client, thread, body, told):
    before = fingerprint()
    response = client.post(f"/threads/{thread.pk}/commands", body)
    answer = response.json()
    assert response.status_code == 400
    assert (answer["type"], answer["id"], answer["error"]) == ("error", told, "invalid_argument")
    assert answer["message"] and fingerprint() == before


def test_what_is_no_json_is_said_to_be_none(client, thread):
    response = client.generic("POST", f"/threads/{thread.pk}/commands", b"{", content_type="application/json")
    assert response.status_code == 400 and "JSON" in response.json()["detail"]


def test_a_command_may_hold_more_than_is_known(client, thread):
    command = {"id": 2**53 - 1, "method": "state.get", "trace": {"a": 1}}
    answer = client.post(f"/threads/{thread.pk}/commands", command).json()
    assert (answer["type"], answer["id"]) == ("success", 2**53 - 1)


@pytest.mark.parametrize("method", ["run.stop", "state", "RUN.START", "x" * 10_000])
def test_a_command_that_there_is_not(client, thread, method):
    assert refused(client, thread, method)[0] == "unknown_command"


@pytest.mark.parametrize("method", ["subscribe", "unsubscribe", "reconnect"])
def test_a_request_has_no_subscriptions(client, thread, method):
    assert refused(client, thread, f"subscription.{method}", channels=["values"])[0] == "not_supported"


@pytest.mark.parametrize(
    ("method", "needs"),
    [
        ("run.start", "runs:create"),
        ("input.respond", "runs:create"),
        ("input.inject", "threads:write"),
        ("state.fork", "runs:create"),
    ],
)
def test_who_only_reads_can_not_change_anything(client, alice, acme, waiting, engine, method, needs):
    viewer = User.objects.create_user("vera@acme.test")
    add_member(acme, viewer, Role.VIEWER)
    Thread.objects.update(shared=True)
    code, message = refused(api_client(viewer), waiting, method)
    assert code == "permission_denied" and needs in message
    assert engine.questions == []


# Keys.


def once(client: APIClient, thread: Thread, key: str, **command: Any) -> Any:
    return client.post(f"/threads/{thread.pk}/commands", command, headers={"Idempotency-Key": key}).json()


def test_a_key_starts_one_run(client, thread):
    params = {"assistant_id": "echo", "input": {}}
    first, again = (once(client, thread, "k", id=number, method="run.start", params=params) for number in (1, 2))
    assert (first["id"], again["id"]) == (1, 2) and first["result"] == again["result"]
    other = once(client, thread, "k", id=1, method="run.start", params=params | {"input": 1})
    assert other["error"] == "invalid_argument" and "Idempotency-Key" in other["message"]
    assert Run.objects.count() == 1


def test_a_key_answers_one_interrupt_once(client, waiting):
    command = {"id": 1, "method": "input.respond", "params": {"interrupt_id": ASK, "response": 1}}
    first, again = (once(client, waiting, "k", **command) for _ in range(2))
    assert first["result"] == again["result"] and Run.objects.count() == 2


def test_a_command_that_failed_uses_up_no_key(client, thread):
    failed = once(client, thread, "k", id=1, method="run.start", params={"assistant_id": "nobody"})
    assert failed["type"] == "error"
    assert once(client, thread, "k", id=1, method="run.start", params={"assistant_id": "echo"})["type"] == "success"


def test_what_a_key_made_may_be_gone(client, thread):
    command = {"id": 1, "method": "run.start", "params": {"assistant_id": "echo"}}
    once(client, thread, "k", **command)
    Run.objects.all().delete()
    assert once(client, thread, "k", **command)["error"] == "unknown_error"


# Nobody there, nobody's, nothing at all.

EACH = {
    "run.start": {"assistant_id": "echo", "input": {}},
    "input.respond": {"interrupt_id": ASK, "response": 1},
    "input.inject": {"namespace": [], "message": SAID},
    "agent.getTree": {},
    "state.get": {"namespace": []},
    "state.listCheckpoints": {},
    "state.fork": {"checkpoint_id": CHECKPOINT},
}


@pytest.mark.parametrize("method", EACH)
def test_somebody_elses_thread_is_as_one_that_there_is_not(client, charlie, bob, engine, alice, method):
    for user in (charlie, bob):
        foreign = waits(user, ASK)
        answers = {refused(client, foreign, method, **EACH[method])}
        if method != "run.start":
            answers.add(refused(client, str(new_id()), method, **EACH[method]))
        assert len(answers) == 1
        assert answers <= {("invalid_argument", "Thread not found."), ("no_such_run", "Run not found.")}
    assert engine.questions == []


@pytest.mark.parametrize("method", sorted(EACH.keys() - {"run.start"}))
def test_an_id_that_is_none_is_not_found(client, alice, engine, method):
    # With a slash it is another address.
    for odd in [odd for odd in ODD_IDS if "%2f" not in odd]:
        code, message = refused(client, odd, method, **EACH[method])
        assert (code, message) in [("invalid_argument", "Thread not found."), ("no_such_run", "Run not found.")]
    assert engine.questions == []


@pytest.mark.parametrize("method", ["state.get", "state.listCheckpoints", "state.fork", "input.inject"])
@pytest.mark.parametrize("error", [NoEngine(), CallRefused(503, "no")])
def test_without_an_engine_it_is_worth_trying_again(client, alice, engine, method, error):
    thread = waits(alice, ASK)
    engine.error = error
    body = {"id": 1, "method": method, "params": EACH[method]}
    response = client.post(f"/threads/{thread.pk}/commands", body)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert Run.objects.count() == 1


def test_a_thread_that_is_being_made_takes_no_command(client, alice):
    thread = make_thread(tenant_of(alice), temporary=True)
    assert refused(client, thread, "run.start", assistant_id="echo")[0] == "unknown_error"


def test_a_graph_that_is_gone_is_named(client, waiting):
    Graph.objects.update(error="gone")
    code, message = refused(client, waiting, "input.respond", interrupt_id=ASK, response=1)
    assert code == "invalid_argument" and "gone" in message


def test_the_reference_names_every_command_and_every_code():
    page = (site.BASE_DIR / "docs" / "reference" / "api.md").read_text()
    assert [name for name in [*EACH, *ErrorCode] if f"`{name}`" not in page] == []


@within_one_test
@given(method=st.sampled_from(sorted(EACH)), odd=bodies, on_top=st.booleans())
def test_no_params_are_a_failure_of_the_server(client, engine, waiting, method, odd, on_top):
    params = EACH[method] | odd if on_top and isinstance(odd, dict) else odd
    before = (fingerprint(), len(engine.questions))
    response = client.generic(
        "POST",
        f"/threads/{waiting.pk}/commands",
        json.dumps({"id": 1, "method": method, "params": params}),
        content_type="application/json",
    )
    assert response.status_code in (200, 400, 422)
    answer = response.json()
    if response.status_code != 200 or answer["type"] == "error":
        assert (answer.get("message") or answer["detail"]) and answer.get("error", "") in ["", *ErrorCode]
        if not any(asked == "update" for asked, _ in engine.questions[before[1] :]):
            assert fingerprint() == before[0]
