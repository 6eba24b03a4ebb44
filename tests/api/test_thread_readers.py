"""Who reads a thread for long may go on as long as they may read the thread."""

from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.authentication import identify_by_api_key
from accounts.models import ApiKey, Membership, Role, User
from accounts.permissions import ROLE_PERMISSIONS
from accounts.tenancy import Tenant
from runs.models import Thread
from runs.services.readers import Reading, arrivals, refusals
from tests.factories import api_key_of, make_thread, tenant_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def shared(alice: User, acme: object) -> Thread:
    return make_thread(tenant_of(alice), shared=True)


def reading(tenant: Tenant, thread: Thread) -> Reading:
    return Reading(tenant, thread.pk, thread.created_at)


def refusal(tenant: Tenant, thread: Thread) -> int | None:
    (status,) = refusals([reading(tenant, thread)])
    return status


def arrival(tenant: Tenant, thread_id: str) -> object:
    (created_at,) = arrivals([Reading(tenant, thread_id, None)])
    return created_at


def test_a_reader_goes_on(alice, bob, shared):
    assert refusal(tenant_of(alice), shared) is None and refusal(tenant_of(bob), shared) is None


def test_who_left_the_organization_does_not(bob, shared):
    tenant = tenant_of(bob)
    Membership.objects.filter(user=bob).delete()
    assert refusal(tenant, shared) == 403


def test_who_was_deactivated_does_not(bob, shared):
    tenant = tenant_of(bob)
    User.objects.filter(pk=bob.pk).update(is_active=False)
    assert refusal(tenant, shared) == 401


def test_who_has_no_key_any_more_does_not(bob, shared):
    _, tenant = identify_by_api_key(api_key_of(bob))
    assert refusal(tenant, shared) is None
    ApiKey.objects.all().delete()
    assert refusal(tenant, shared) == 401


def test_whose_role_reads_nothing_any_more_does_not(bob, shared, monkeypatch):
    tenant = tenant_of(bob)
    monkeypatch.setitem(ROLE_PERMISSIONS, Role.MEMBER, frozenset({"runs:read"}))
    assert refusal(tenant, shared) == 403


def test_nobody_else_does_when_it_is_shared_no_more(alice, bob, shared):
    Thread.objects.update(shared=False)
    assert refusal(tenant_of(alice), shared) is None and refusal(tenant_of(bob), shared) == 404


def test_another_thread_of_the_same_id_is_another_thread(alice, shared):
    Thread.objects.all().delete()
    assert refusal(tenant_of(alice), shared) == 404
    make_thread(tenant_of(alice), thread_id=shared.pk)
    assert refusal(tenant_of(alice), shared) == 404


def test_who_waits_for_a_thread_is_held_to_the_credential_alone(bob):
    assert refusals([Reading(tenant_of(bob), "unknown", None)]) == [None]


def test_a_thread_arrives_for_those_who_can_see_it(alice, bob, charlie, shared):
    assert [arrival(tenant_of(user), shared.pk) for user in (alice, bob, charlie)] == [
        shared.created_at,
        shared.created_at,
        None,
    ]
    Thread.objects.update(shared=False)
    assert arrival(tenant_of(alice), shared.pk) and not arrival(tenant_of(bob), shared.pk)
    assert arrival(tenant_of(alice), "unknown") is None


@pytest.mark.parametrize("of", ["alice", "bob", "charlie"])
@pytest.mark.parametrize("is_shared", [True, False])
def test_a_row_is_open_to_those_whose_queries_find_it(request, alice, charlie, shared, bob, of, is_shared):
    tenant = tenant_of(request.getfixturevalue(of))
    Thread.objects.update(shared=is_shared)
    assert Thread.objects.get().is_open_to(tenant) is Thread.objects.for_tenant(tenant).exists()


def queries(ask: Callable[[], object]) -> int:
    with CaptureQueriesContext(connection) as captured:
        ask()
    return len(captured)


def test_as_many_queries_for_a_thousand_readers_as_for_two(alice, bob, shared):
    _, by_key = identify_by_api_key(api_key_of(bob))
    few = [reading(tenant_of(alice), shared), reading(by_key, shared)]
    threads = [make_thread(tenant_of(alice), shared=True) for _ in range(100)]
    many = few + [reading(one.tenant, thread) for thread in threads for one in few] * 5
    assert refusals(many) == [None] * len(many)
    assert queries(lambda: refusals(many)) == queries(lambda: refusals(few)) == 3
    assert queries(lambda: arrivals(many)) == 1
