"""Threads that are named by who has no part in them, and by who has."""

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from runs.models import Run, Thread
from tests.api.rows import fingerprint
from tests.factories import api_client, make_thread, tenant_of


def body(thread_id: str) -> dict[str, object]:
    return {"assistant_id": "echo", "input": {}, "config": {"configurable": {"thread_id": thread_id}}}


@pytest.mark.parametrize("address", ["runs", "runs/stream", "runs/wait"])
def test_a_run_may_name_a_thread_that_is_ones_own_or_shared_or_new(
    api: APIClient, alice: User, bob: User, address: str
) -> None:
    shared = make_thread(tenant_of(alice), shared=True)
    own = make_thread(tenant_of(bob))
    for thread_id in (shared.pk, own.pk, "new"):
        assert api_client(bob).post(f"/api/{address}", body(thread_id)).status_code == 200
        assert Run.objects.get(thread_id=thread_id).owner_id == bob.pk
    new = Thread.objects.get(pk="new")
    assert (new.owner_id, new.shared) == (bob.pk, False)


@pytest.mark.parametrize("address", ["runs", "runs/stream", "runs/wait"])
def test_a_run_may_name_no_thread_of_a_colleague_or_of_others(
    api: APIClient, alice: User, bob: User, charlie: User, address: str
) -> None:
    private = make_thread(tenant_of(alice), values={"word": "s3cret"})
    shared = make_thread(tenant_of(alice), shared=True, values={"word": "s3cret"})
    before = fingerprint()
    for stranger, thread in ((bob, private), (charlie, private), (charlie, shared)):
        response = api_client(stranger).post(f"/api/{address}", body(thread.pk))
        assert (response.status_code, response.json()) == (404, {"detail": "Thread not found."})
    assert fingerprint() == before
