"""Who was let in for long is asked for again: each way to lose what let them in."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.access import tenants_in_force
from accounts.authentication import identify_by_api_key, identify_by_bearer
from accounts.models import ApiKey, Membership, Organization, Role, User
from accounts.permissions import ROLE_PERMISSIONS
from accounts.services import create_organization, revoke_tokens, select_organization
from accounts.tenancy import Tenant
from accounts.tokens import issue_access_token
from tests.factories import api_key_of, tenant_of

Enter = Callable[[User], Tenant]


def by_key(user: User) -> Tenant:
    return identify_by_api_key(api_key_of(user))[1]


def by_token(user: User) -> Tenant:
    return identify_by_bearer(issue_access_token(user))[1]


each_way_in = pytest.mark.parametrize("enter", [by_key, by_token, tenant_of])


def now(tenant: Tenant) -> Tenant | None:
    (found,) = tenants_in_force([tenant])
    return found


@each_way_in
def test_whom_nothing_happened_to_is_who_they_were(bob: User, enter: Enter) -> None:
    tenant = enter(bob)
    assert now(tenant) == tenant


@each_way_in
def test_who_was_deactivated_is_nobody(bob: User, enter: Enter) -> None:
    tenant = enter(bob)
    User.objects.filter(pk=bob.pk).update(is_active=False)
    assert now(tenant) is None


@each_way_in
def test_who_left_the_organization_may_do_nothing(bob: User, enter: Enter) -> None:
    tenant = enter(bob)
    create_organization("elsewhere", bob)
    Membership.objects.filter(organization=tenant.organization_id, user=bob).delete()
    found = now(tenant)
    assert found and found.permissions == frozenset()


@each_way_in
def test_another_role_gives_other_permissions(bob: User, enter: Enter) -> None:
    tenant = enter(bob)
    Membership.objects.filter(user=bob).update(role=Role.VIEWER)
    found = now(tenant)
    assert found and found.permissions == ROLE_PERMISSIONS[Role.VIEWER]


@each_way_in
def test_acting_in_another_organization_changes_nothing_in_this_one(bob: User, enter: Enter) -> None:
    tenant = enter(bob)
    select_organization(bob, create_organization("elsewhere", bob))
    assert now(tenant) == tenant


@pytest.mark.parametrize(
    "over",
    [{"revoked_at": timezone.now()}, {"expires_at": timezone.now() - timedelta(seconds=1)}],
    ids=["revoked", "expired"],
)
def test_a_key_that_is_good_no_more_lets_nobody_in(bob: User, over: dict[str, object]) -> None:
    tenant, other = by_key(bob), by_key(bob)
    assert tenant.credential
    ApiKey.objects.filter(pk=tenant.credential.id).update(**over)
    assert tenants_in_force([tenant, other]) == [None, other]


def test_ended_sessions_end_those_of_tokens_only(bob: User) -> None:
    token, key = by_token(bob), by_key(bob)
    revoke_tokens(bob)
    bob.refresh_from_db()
    assert tenants_in_force([token, key, by_token(bob)]) == [None, key, key]


def test_a_token_lets_nobody_in_past_its_end(bob: User, monkeypatch: pytest.MonkeyPatch) -> None:
    token, key = by_token(bob), by_key(bob)
    assert token.credential and token.credential.expires_at
    end = token.credential.expires_at
    assert timezone.now() < end <= timezone.now() + timedelta(minutes=15)
    monkeypatch.setattr(timezone, "now", lambda: end - timedelta(seconds=1))
    assert tenants_in_force([token, key]) == [token, key]
    monkeypatch.setattr(timezone, "now", lambda: end)
    assert tenants_in_force([token, key]) == [None, key]


def test_a_deleted_key_or_user_is_nobody(alice: User, acme: Organization, bob: User) -> None:
    key, token = by_key(alice), by_token(bob)
    ApiKey.objects.all().delete()
    bob.delete()
    assert tenants_in_force([key, token]) == [None, None]


def test_many_are_asked_for_at_once(alice: User, bob: User, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    tenants = [enter(user) for user in (alice, bob) for enter in (by_key, by_token, tenant_of) for _ in range(3)]
    with django_assert_num_queries(2):
        assert tenants_in_force(tenants) == tenants
    with django_assert_num_queries(0):
        assert tenants_in_force([]) == []
