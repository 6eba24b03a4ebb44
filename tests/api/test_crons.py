"""Crons as clients of LangGraph servers know them."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from runs.api import schema
from runs.host.crons import fire_due
from runs.models import Cron, Run
from runs.protocol.requests.crons import CronCreate
from tests.api.problems import named
from tests.factories import api_client, make_cron, make_thread, tenant_of

HOURLY = {"assistant_id": "echo", "schedule": "0 * * * *"}
LATER = "2999-01-01T00:00:00+00:00"


def moment(text):
    return datetime.fromisoformat(text)


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_a_cron_has_its_keys(client, alice, prefix):
    made = client.post(
        f"{prefix}/runs/crons", HOURLY | {"input": {"a": None}, "metadata": {"b": 1}, "end_time": LATER}
    ).json()
    schema.Cron.model_validate(made)
    expected = {
        "thread_id": None,
        "user_id": str(alice.pk),
        "schedule": "0 * * * *",
        "timezone": None,
        "end_time": LATER,
        "enabled": True,
        "on_run_completed": "delete",
        "metadata": {"b": 1},
    }
    assert made | expected == made
    due = moment(made["next_run_date"])
    assert (due.minute, due.second) == (0, 0)
    assert timedelta(0) < due - timezone.now() <= timedelta(hours=1)
    own = {"cron_id": made["cron_id"]}
    assert made["payload"]["input"] == {"a": None}
    assert made["payload"]["config"] == {"configurable": own}
    assert client.get(f"{prefix}/runs/crons/{made['cron_id']}").json() == made
    assert client.post(f"{prefix}/runs/crons/search", {}).json() == [made]


def test_a_cron_on_a_thread_says_so(client, alice):
    thread = make_thread(tenant_of(alice))
    made = client.post(f"/threads/{thread.pk}/runs/crons", HOURLY).json()
    assert (made["thread_id"], made["on_run_completed"]) == (thread.pk, None)
    assert client.post("/threads/unknown/runs/crons", HOURLY).status_code == 404


def test_one_that_is_disabled_is_not_due(client):
    made = client.post("/runs/crons", HOURLY | {"enabled": False}).json()
    assert (made["enabled"], made["next_run_date"]) == (False, None)
    path = f"/runs/crons/{made['cron_id']}"
    assert client.patch(path, {"enabled": True}).json()["next_run_date"]
    assert client.patch(path, {"enabled": False}).json()["next_run_date"] is None


def test_one_whose_end_comes_before_its_time_is_not_due(client):
    soon = (timezone.now() + timedelta(days=1)).isoformat()
    made = client.post("/runs/crons", HOURLY | {"schedule": "0 0 29 2 *", "end_time": soon}).json()
    assert made["enabled"] and made["next_run_date"] is None


BAD = [
    ({"schedule": "every day"}, ["schedule"]),
    ({"schedule": "0 0 30 2 *"}, ["schedule"]),
    ({"schedule": ""}, ["schedule"]),
    ({"schedule": "* " * 200}, ["schedule"]),
    ({"schedule": 5}, ["schedule"]),
    ({"timezone": "Mars/Olympus"}, ["timezone"]),
    ({"timezone": "UTC+02:00"}, ["timezone"]),
    ({"end_time": "2999-01-01T00:00:00"}, ["end_time"]),
    ({"end_time": "2001-01-01T00:00:00Z"}, ["end_time"]),
    ({"end_time": "9999-12-31T23:59:59-12:00"}, ["end_time"]),
    ({"end_time": "tomorrow"}, ["end_time"]),
    ({"end_time": 4102444800}, ["end_time"]),
    ({"enabled": "yes"}, ["enabled"]),
    ({"on_run_completed": "archive"}, ["on_run_completed"]),
    ({"stream_mode": "tokens"}, ["stream_mode"]),
    ({"config": {"configurable": {"thread_id": "t"}}}, ["config", "configurable", "thread_id"]),
    ({"config": {"configurable": {"checkpoint_id": "c"}}}, ["config", "configurable", "checkpoint_id"]),
    ({"webhook": ""}, ["webhook"]),
    ({"config": {"configurable": {"user_id": "t"}}}, ["config", "configurable"]),
    ({"input": {}, "command": {"resume": 1}}, []),
    ({"on_disconnect": "cancel"}, ["on_disconnect"]),
    ({"on_completion": "keep"}, ["on_completion"]),
    ({"if_not_exists": "create"}, ["if_not_exists"]),
    ({"after_seconds": 1}, ["after_seconds"]),
    ({"follow_up_to_run_id": "x"}, ["follow_up_to_run_id"]),
    ({"checkpoint_id": "x"}, ["checkpoint_id"]),
    ({"checkpoint": {}}, ["checkpoint"]),
    ({"user_id": "x"}, ["user_id"]),
    ({"next_run_date": LATER}, ["next_run_date"]),
]


@pytest.mark.parametrize(("bad", "loc"), BAD, ids=str)
def test_what_a_cron_can_not_do_is_refused_by_name(client, bad, loc):
    path = f"/runs/crons/{client.post('/runs/crons', HOURLY).json()['cron_id']}"
    before = client.get(path).json()
    for response in (client.post("/runs/crons", HOURLY | bad), client.patch(path, bad)):
        assert response.status_code == 422
        assert named(response, "body", *loc)
    assert client.get(path).json() == before
    assert Cron.objects.count() == 1


@pytest.mark.parametrize("assistant_id", ["broken", "no-such-graph", ""])
def test_an_assistant_that_can_not_run_is_refused(client, assistant_id):
    response = client.post("/runs/crons", HOURLY | {"assistant_id": assistant_id})
    assert response.status_code == 422
    assert named(response, "body", "assistant_id")


def test_what_becomes_of_the_thread_is_no_question_where_it_is_given(client, alice):
    thread = make_thread(tenant_of(alice))
    response = client.post(f"/threads/{thread.pk}/runs/crons", HOURLY | {"on_run_completed": "keep"})
    assert response.status_code == 422
    assert named(response, "body", "on_run_completed")


def test_a_patch_replaces_what_it_names_and_nothing_else(client):
    made = client.post("/runs/crons", HOURLY | {"input": {"a": 1}, "metadata": {"a": 1}, "context": {"c": 1}}).json()
    path = f"/runs/crons/{made['cron_id']}"
    changed = client.patch(path, {"input": {"b": 2}, "metadata": {"b": 2}, "interrupt_before": "*"}).json()
    assert changed["payload"]["input"] == {"b": 2}
    assert changed["payload"]["context"] == {"c": 1}
    assert changed["payload"]["interrupt_before"] == "*"
    assert changed["metadata"] == {"b": 2}
    assert changed["next_run_date"] == made["next_run_date"]
    assert client.patch(path, {"context": None}).json()["payload"].get("context") is None
    assert client.patch(path, {}).json()["payload"]["input"] == {"b": 2}


def test_a_new_schedule_zone_or_end_moves_the_next_run(client):
    made = client.post("/runs/crons", HOURLY | {"schedule": "30 9 * * *"}).json()
    path = f"/runs/crons/{made['cron_id']}"
    assert moment(client.patch(path, {"schedule": "45 9 * * *"}).json()["next_run_date"]).minute == 45
    tokyo = client.patch(path, {"timezone": "Asia/Tokyo"}).json()
    assert (tokyo["timezone"], moment(tokyo["next_run_date"]).astimezone(UTC).hour) == ("Asia/Tokyo", 0)
    assert moment(client.patch(path, {"timezone": None}).json()["next_run_date"]).hour == 9
    soon = (timezone.now() + timedelta(seconds=1)).isoformat()
    assert client.patch(path, {"schedule": "0 0 29 2 *", "end_time": soon}).json()["next_run_date"] is None
    assert client.patch(path, {"end_time": None}).json()["next_run_date"]


def test_a_patch_that_contradicts_what_was_said_before_is_refused(client):
    made = client.post("/runs/crons", HOURLY | {"input": {"a": 1}}).json()
    path = f"/runs/crons/{made['cron_id']}"
    assert client.patch(path, {"command": {"resume": 1}}).status_code == 422
    assert client.patch(path, {"command": {"resume": 1}, "input": None}).status_code == 200


def test_to_enable_one_forgets_why_it_was_disabled(client, alice):
    cron = make_cron(tenant_of(alice), enabled=False, next_run_at=None, error="Its owner left.")
    assert client.patch(f"/runs/crons/{cron.pk}", {"enabled": True}).status_code == 200
    cron.refresh_from_db()
    assert (cron.error, cron.enabled) == ("", True)


def test_what_is_deleted_is_gone_and_its_runs_stay(client, alice):
    cron = make_cron(tenant_of(alice), next_run_at=timezone.now())
    assert fire_due(timezone.now()) == 1
    path = f"/runs/crons/{cron.pk}"
    deleted = client.delete(path)
    assert (deleted.status_code, deleted.content) == (204, b"")
    for response in (client.get(path), client.delete(path), client.patch(path, {})):
        assert (response.status_code, response.json()) == (404, {"detail": "Cron not found."})
    assert Run.objects.count() == 1
    assert client.get("/runs/crons/x").status_code == 404


def test_every_option_reaches_the_run(client):
    options = {
        "input": {"messages": []},
        "metadata": {"m": 1},
        "config": {"tags": ["t"], "recursion_limit": 7, "configurable": {"c": 1}},
        "context": {"x": None},
        "interrupt_before": ["a"],
        "interrupt_after": "*",
        "stream_mode": ["updates", "custom"],
        "stream_subgraphs": True,
        "stream_resumable": True,
        "durability": "sync",
        "multitask_strategy": "rollback",
        "webhook": "https://hooks.test/done",
        "feedback_keys": ["good"],
        "strict_resume": True,
    }
    made = client.post("/runs/crons", HOURLY | options).json()
    Cron.objects.update(next_run_at=timezone.now())
    assert fire_due(timezone.now()) == 1
    run = Run.objects.get()
    kwargs = run.kwargs
    assert kwargs["input"] == options["input"] and kwargs["context"] == {"x": None}
    assert (kwargs["interrupt_before"], kwargs["interrupt_after"]) == (["a"], "*")
    assert (kwargs["stream_mode"], kwargs["subgraphs"], kwargs["durability"]) == (["updates", "custom"], True, "sync")
    assert kwargs["config"]["recursion_limit"] == 7 and kwargs["config"]["tags"] == ["t"]
    assert kwargs["config"]["configurable"].items() >= {"c": 1, "cron_id": made["cron_id"]}.items()
    assert run.metadata.items() >= {"m": 1, "cron_id": made["cron_id"]}.items()
    assert (run.multitask_strategy, run.webhook) == ("rollback", "https://hooks.test/done")
    assert (kwargs["feedback_keys"], kwargs["strict_resume"]) == (["good"], True)


def test_searches_find_by_assistant_thread_state_and_metadata(client, alice, graphs):
    tenant = tenant_of(alice)
    thread = make_thread(tenant)
    on_thread = make_cron(tenant, thread, metadata={"n": 1})
    stress = make_cron(tenant, assistant=graphs["stress"], metadata={"n": 2})
    disabled = make_cron(tenant, enabled=False, next_run_at=None)
    for query, found in [
        ({"thread_id": thread.pk}, [on_thread]),
        ({"assistant_id": "stress"}, [stress]),
        ({"assistant_id": str(graphs["stress"].pk)}, [stress]),
        ({"assistant_id": "nothing"}, []),
        ({"enabled": False}, [disabled]),
        ({"enabled": True, "metadata": {"n": 1}}, [on_thread]),
        ({}, [disabled, stress, on_thread]),
    ]:
        assert [row["cron_id"] for row in client.post("/runs/crons/search", query).json()] == [
            str(cron.pk) for cron in found
        ]
        assert client.post("/runs/crons/count", query).json() == len(found)


@pytest.mark.parametrize(
    "sort_by", ["cron_id", "assistant_id", "thread_id", "created_at", "updated_at", "next_run_date", "end_time"]
)
def test_searches_are_sorted_and_what_is_null_comes_last(client, alice, sort_by):
    tenant = tenant_of(alice)
    now = timezone.now()
    later = make_cron(tenant, make_thread(tenant, thread_id="b"), next_run_at=now + timedelta(days=2), end_time=now)
    never = make_cron(tenant, next_run_at=None)
    sooner = make_cron(tenant, make_thread(tenant, thread_id="a"), end_time=now - timedelta(days=1))
    for order in ("asc", "desc"):
        rows = client.post("/runs/crons/search", {"sort_by": sort_by, "sort_order": order}).json()
        values = [row[sort_by] for row in rows if row[sort_by] is not None]
        assert values == sorted(values, reverse=order == "desc")
        if sort_by in ("next_run_date", "end_time", "thread_id"):
            assert rows[-1]["cron_id"] == str(never.pk)
            assert {row["cron_id"] for row in rows[:2]} == {str(later.pk), str(sooner.pk)}


def test_searches_come_in_pages_with_the_keys_asked_for(client, alice):
    for _ in range(3):
        make_cron(tenant_of(alice))
    page = client.post("/runs/crons/search", {"limit": 2, "select": ["cron_id", "now"]})
    assert [set(row) for row in page.json()] == [{"cron_id"}] * 2
    assert page.headers["x-pagination-next"] == "2"
    assert len(client.post("/runs/crons/search", {"limit": 2, "offset": 2}).json()) == 1


def test_a_cron_is_seen_by_its_owner_and_where_its_thread_is(client, alice, bob):
    tenant = tenant_of(alice)
    private, alone = make_cron(tenant, make_thread(tenant)), make_cron(tenant)
    shared = make_cron(tenant, make_thread(tenant, shared=True))
    bobs = make_cron(tenant_of(bob), shared.thread)
    assert {row["cron_id"] for row in api_client(bob).post("/runs/crons/search", {}).json()} == {
        str(shared.pk),
        str(bobs.pk),
    }
    assert client.post("/runs/crons/count", {}).json() == 4
    for cron in (private, alone):
        assert api_client(bob).get(f"/runs/crons/{cron.pk}").status_code == 404


def test_nobody_changes_what_runs_in_the_name_of_another(alice, bob, client):
    tenant = tenant_of(alice)
    cron = make_cron(tenant, make_thread(tenant, shared=True), payload={"input": 1})
    refused = api_client(bob).patch(f"/runs/crons/{cron.pk}", {"input": 2})
    assert refused.status_code == 403
    cron.refresh_from_db()
    assert cron.payload == {"input": 1}
    assert api_client(bob).delete(f"/runs/crons/{cron.pk}").status_code == 204


def test_the_reference_names_every_field_of_a_cron(settings):
    page = (settings.BASE_DIR / "docs" / "reference" / "api.md").read_text()
    assert [field for field in CronCreate.model_fields if f"`{field}`" not in page] == []


def test_its_webhook_is_checked_when_it_is_made_and_changed(client):
    body = {"assistant_id": "echo", "schedule": "0 0 * * *", "input": {}}
    refused = client.post("/runs/crons", body | {"webhook": "http://localhost/hook"})
    assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, ["body", "webhook"])
    cron = client.post("/runs/crons", body | {"webhook": "https://example.org/hook"}).json()
    assert client.patch(f"/runs/crons/{cron['cron_id']}", {"webhook": "http://127.1/"}).status_code == 422


def test_a_key_makes_one_cron(client, alice):
    thread = make_thread(tenant_of(alice))
    for address in ("/runs/crons", f"/threads/{thread.pk}/runs/crons"):
        first, again = (client.post(address, HOURLY, headers={"Idempotency-Key": "key"}).json() for _ in range(2))
        assert first == again
        other = client.post(address, HOURLY | {"schedule": "1 * * * *"}, headers={"Idempotency-Key": "key"})
        assert (other.status_code, other.json()["detail"][0]["loc"]) == (422, ["header", "Idempotency-Key"])
        assert client.delete(f"/runs/crons/{first['cron_id']}").status_code == 204
        assert client.post(address, HOURLY, headers={"Idempotency-Key": "key"}).status_code == 409
    assert not Cron.objects.exists()


def test_an_organization_has_so_many_enabled_crons_and_no_more(client, alice, bob, charlie, settings):
    settings.MAX_CRONS_PER_ORGANIZATION = 2
    bobs = make_cron(tenant_of(bob))
    first = client.post("/runs/crons", HOURLY).json()
    paused = client.post("/runs/crons", HOURLY | {"enabled": False}).json()
    path = f"/runs/crons/{paused['cron_id']}"
    for response in (client.post("/runs/crons", HOURLY), client.patch(path, {"enabled": True})):
        assert response.status_code == 409
    assert Cron.objects.count() == 3
    assert client.patch(f"/runs/crons/{first['cron_id']}", {"enabled": True}).status_code == 200
    assert api_client(charlie).post("/runs/crons", HOURLY).status_code == 200
    bobs.delete()
    assert client.patch(path, {"enabled": True}).status_code == 200
