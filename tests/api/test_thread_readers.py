"""Who reads the stream of a thread may go on as long as they may read the thread."""

import pytest

from accounts.models import Membership, User
from runs.models import Thread
from runs.services.threads import may_still_read
from tests.factories import make_thread, tenant_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def shared(alice: User, acme: object) -> Thread:
    return make_thread(tenant_of(alice), shared=True)


def test_a_reader_goes_on(alice, bob, shared):
    assert may_still_read(tenant_of(alice), shared) and may_still_read(tenant_of(bob), shared)


def test_who_left_the_organization_does_not(bob, shared):
    tenant = tenant_of(bob)
    Membership.objects.filter(user=bob).delete()
    assert not may_still_read(tenant, shared)


def test_who_was_deactivated_does_not(bob, shared):
    tenant = tenant_of(bob)
    User.objects.filter(pk=bob.pk).update(is_active=False)
    assert not may_still_read(tenant, shared)


def test_nobody_else_does_when_it_is_shared_no_more(alice, bob, shared):
    Thread.objects.update(shared=False)
    assert may_still_read(tenant_of(alice), shared) and not may_still_read(tenant_of(bob), shared)


def test_another_thread_of_the_same_id_is_another_thread(alice, shared):
    shared.delete()
    make_thread(tenant_of(alice), thread_id=shared.thread_id)
    assert not may_still_read(tenant_of(alice), shared)
