"""Organizations, memberships and the selected organization."""

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from accounts.exceptions import AlreadyMember, NotAMember
from accounts.models import ApiKey, Membership, Organization, Role, User
from accounts.services import add_member, create_organization, issue_api_key, select_organization
from accounts.tenancy import Tenant


def test_creator_is_owner(alice: User, acme: Organization) -> None:
    assert Membership.objects.get(organization=acme, user=alice).role == Role.OWNER


def test_first_organization_becomes_the_selected_one(alice: User, acme: Organization) -> None:
    create_organization("second", alice)
    assert User.objects.get().selected_organization == acme


def test_selecting_moves_to_another_of_ones_organizations(alice: User, acme: Organization) -> None:
    second = create_organization("second", alice)
    select_organization(alice, second)
    assert User.objects.get().selected_organization == second


def test_selecting_an_organization_of_others_is_refused(charlie: User, acme: Organization) -> None:
    with pytest.raises(NotAMember):
        select_organization(charlie, acme)
    assert User.objects.get(pk=charlie.pk).selected_organization != acme


def test_nobody_is_a_member_twice(bob: User, acme: Organization) -> None:
    with pytest.raises(AlreadyMember):
        add_member(acme, bob, Role.OWNER)
    assert Membership.objects.get(user=bob).role == Role.MEMBER


def test_database_refuses_an_unknown_role(bob: User) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Membership.objects.filter(user=bob).update(role="emperor")


@pytest.mark.parametrize("name", ["", "  ", "a\x00b", "a\nb", "\ud800", "x" * 201])
def test_organization_needs_a_printable_name(alice: User, name: str) -> None:
    with pytest.raises(ValidationError):
        create_organization(name, alice)
    assert not Organization.objects.exists()


@pytest.mark.parametrize("name", ["Bäckerei Müller", "株式会社", "👩\u200d💻 & co"])
def test_organization_name_may_be_in_any_script(alice: User, name: str) -> None:
    create_organization(name, alice)
    assert Organization.objects.get().name == name


def test_for_tenant_keeps_only_rows_of_its_organization(alice: User, acme: Organization, charlie: User) -> None:
    other = charlie.selected_organization
    assert other is not None
    own, _ = issue_api_key(alice, acme, "own")
    issue_api_key(charlie, other, "foreign")
    tenant = Tenant(acme.pk, alice.pk, frozenset())
    assert list(ApiKey.objects.for_tenant(tenant)) == [own]
