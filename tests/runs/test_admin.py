"""The operators' pages: they show rows as text, write nothing, and cancel runs."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client

from accounts.models import User
from runs.models import Assistant, Cron, Delivery, DeliveryStatus, EventChunk, Graph, Run, Thread, WebhookEndpoint
from runs.states import RunStatus
from tests.api.rows import fingerprint, make_rows
from tests.factories import make_delivery, make_run, make_thread, run_kwargs, tenant_of

HOSTILE = "<script>alert(1)</script>\u202e\x1b[31m{{7*7}}=cmd()"
MODELS = {
    "graph": Graph,
    "assistant": Assistant,
    "thread": Thread,
    "run": Run,
    "cron": Cron,
    "eventchunk": EventChunk,
    "delivery": Delivery,
    "webhookendpoint": WebhookEndpoint,
}
each_model = pytest.mark.parametrize("model", MODELS)


@pytest.fixture
def rows(alice, acme, graphs):
    url = "https://hooks.example.com/hunter2"
    WebhookEndpoint.objects.create(organization=acme, url=url)
    make_delivery(tenant_of(alice), receiver=HOSTILE, last_error=HOSTILE, url=url, payload=b"hunter2")
    return make_rows(alice, HOSTILE)


@pytest.fixture
def operator(rows):
    client = Client()
    client.force_login(User.objects.create_superuser("olga@site.test"))
    return client


def staff_with(*names):
    user, _ = User.objects.get_or_create(email="stan@site.test", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    client = Client()
    client.force_login(user)
    return client


def pages(model):
    row = MODELS[model].objects.first()
    return [f"/admin/runs/{model}/", f"/admin/runs/{model}/{row.pk}/change/"]


@each_model
def test_rows_are_shown_as_text(operator, model):
    for path in pages(model):
        page = operator.get(path)
        assert page.status_code == 200
        assert b"<script>alert" not in page.content
    if model not in ("graph", "webhookendpoint"):
        assert b"&lt;script&gt;alert(1)&lt;/script&gt;" in page.content


@each_model
def test_nothing_is_written_by_a_form(operator, model):
    before = fingerprint()
    change = pages(model)[1]
    assert operator.get(f"/admin/runs/{model}/add/").status_code == 403
    assert operator.post(f"/admin/runs/{model}/add/", {}).status_code == 403
    assert operator.post(change, {"status": "error", "name": "x"}).status_code == 403
    assert operator.post(change.replace("change", "delete"), {"post": "yes"}).status_code == 403
    row = MODELS[model].objects.first()
    operator.post(f"/admin/runs/{model}/", {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"})
    assert fingerprint() == before


@each_model
def test_only_staff_who_may_look_do(rows, model):
    strangers = Client()
    staff = staff_with("view_user")
    for path in pages(model):
        assert strangers.get(path).status_code == 302
        assert staff.get(path).status_code == 403


def test_what_a_caller_configured_is_not_shown(operator, alice):
    run = make_run(tenant_of(alice))
    run.kwargs = run_kwargs(
        run.thread_id, run.pk, config={"configurable": {"api_key": "hunter2"}}, context={"key": "hunter2"}
    )
    run.save()
    assistant = Assistant.objects.create(
        graph_id="echo", name="mine", config={"key": "hunter2"}, context={"key": "hunter2"}
    )
    thread = make_thread(tenant_of(alice), config={"key": "hunter2"})
    for path in (f"run/{run.pk}", f"assistant/{assistant.pk}", f"thread/{thread.pk}"):
        assert b"hunter2" not in operator.get(f"/admin/runs/{path}/change/").content
    assert b"hello" in operator.get(f"/admin/runs/run/{run.pk}/change/").content


@pytest.mark.parametrize("model", ["delivery", "webhookendpoint"])
def test_addresses_of_receivers_may_hold_keys_and_are_not_shown(operator, model):
    for path in pages(model):
        assert b"hunter2" not in operator.get(path).content
    assert operator.get(f"/admin/runs/{model}/?url__startswith=https").status_code == 400


def act(client, model, action):
    rows = [row.pk for row in MODELS[model].objects.all()]
    client.post(f"/admin/runs/{model}/", {"action": action, "_selected_action": rows}, follow=True)


@pytest.mark.parametrize(("permissions", "status"), [(["view"], "failed"), (["view", "change"], "pending")])
def test_what_failed_is_sent_again(rows, permissions, status):
    Delivery.objects.update(status=DeliveryStatus.FAILED, attempts=10)
    act(staff_with(*(f"{each}_delivery" for each in permissions)), "delivery", "send_again")
    assert Delivery.objects.get().status == status
    Delivery.objects.update(status=DeliveryStatus.DELIVERED)
    act(staff_with("view_delivery", "change_delivery"), "delivery", "send_again")
    assert Delivery.objects.get().status == DeliveryStatus.DELIVERED


@pytest.mark.parametrize(("permissions", "left"), [(["view"], 1), (["view", "delete"], 0)])
def test_an_address_that_was_gone_is_told_again(rows, permissions, left):
    act(staff_with(*(f"{each}_webhookendpoint" for each in permissions)), "webhookendpoint", "enable")
    assert WebhookEndpoint.objects.count() == left


@pytest.mark.parametrize(
    "query",
    [
        "webhook__startswith=https",
        "kwargs__config__startswith=x",
        "kwargs__contains=x",
        "claim__isnull=1",
        "thread__config__x=1",
        "assistant__context__x=1",
        "owner__password__startswith=a",
        "thread__owner__password__startswith=a",
    ],
)
def test_what_is_not_shown_can_not_be_searched_either(operator, query):
    assert operator.get(f"/admin/runs/run/?{query}").status_code == 400


@pytest.mark.parametrize(
    "query",
    [
        "q=nope",
        "q=%00",
        "q='%20OR%201=1",
        "o=1.2.3.-9",
        "p=99999",
        "p=-1",
        "q=01890a5d-ac96-774b-bcce-b302099a8057",
        "nope=1",
    ],
)
@each_model
def test_odd_queries_are_no_failure(operator, model, query):
    assert operator.get(f"/admin/runs/{model}/?{query}").status_code in (200, 302)


def test_a_run_is_found_by_its_id_and_by_its_status(operator, alice):
    run = make_run(tenant_of(alice))
    for query in (f"q={run.pk}", f"q={run.thread_id}", "status__exact=pending", "status__exact=pending&q=alice@acme"):
        page = operator.get(f"/admin/runs/run/?{query}").content.decode()
        assert str(run.pk) in page
        assert page.count('name="_selected_action"') == 1


def cancel(client, *runs):
    return client.post(
        "/admin/runs/run/", {"action": "cancel", "_selected_action": [run.pk for run in runs]}, follow=True
    )


def test_selected_runs_are_cancelled(operator, alice, django_capture_on_commit_callbacks):
    tenant = tenant_of(alice)
    pending, running, done = (make_run(tenant, status=status) for status in ("pending", "running", "success"))
    left = make_run(tenant)
    page = cancel(operator, pending, running, done)
    assert "2 runs are being cancelled." in page.content.decode()
    for run in (pending, running, done, left):
        run.refresh_from_db()
    assert [run.status for run in (pending, running, done, left)] == ["interrupted", "running", "success", "pending"]
    assert running.cancel_action == "interrupt"
    assert set(LogEntry.objects.values_list("object_id", flat=True)) == {str(pending.pk), str(running.pk)}


@pytest.mark.parametrize(
    ("permissions", "status"), [(["view_run"], RunStatus.PENDING), (["view_run", "change_run"], RunStatus.INTERRUPTED)]
)
def test_cancelling_takes_the_permission_to_change(rows, alice, permissions, status):
    run = make_run(tenant_of(alice))
    cancel(staff_with(*permissions), run)
    run.refresh_from_db()
    assert run.status == status


def test_a_list_does_not_read_what_may_be_large(operator, alice, django_assert_max_num_queries):
    for _ in range(5):
        make_run(tenant_of(alice))
    for model in MODELS:
        with django_assert_max_num_queries(9) as queries:
            operator.get(f"/admin/runs/{model}/")
        for query in queries.captured_queries:
            assert '"kwargs"' not in query["sql"]
            assert '"payload"' not in query["sql"]
            assert '"values"' not in query["sql"]
