"""`manage.py createkey`."""

from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from rest_framework.response import Response

from accounts.models import ApiKey, Membership, Organization, Role, User
from accounts.permissions import ROLE_PERMISSIONS
from accounts.services import create_organization, find_or_create_owner, select_organization

pytestmark = pytest.mark.django_db


def createkey(email: str, **options: Any) -> str:
    """Run the command and return what it wrote on standard output."""
    stdout = StringIO()
    call_command("createkey", email=email, stdout=stdout, stderr=StringIO(), **options)
    return stdout.getvalue()


def test_key_opens_the_api_as_an_owner(ask: Callable[..., Response]) -> None:
    key = createkey("alice@acme.test").removesuffix("\n")
    tenant = ask(x_api_key=key).data["tenant"]
    assert tenant.permissions == ROLE_PERMISSIONS[Role.OWNER]


def test_key_is_alone_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("createkey", email="alice@acme.test")
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1 and out.startswith("dfk_") and out.endswith("\n")
    assert "alice@acme.test" in err and out.strip() not in err


def test_new_user_has_no_password_and_an_organization_of_its_own() -> None:
    createkey("Alice@Acme.Test")
    user = User.objects.get()
    assert user.email == "alice@acme.test"
    assert not user.has_usable_password()
    assert user.selected_organization == Organization.objects.get(name="alice")


def test_again_for_the_same_person_reuses_user_and_organization() -> None:
    assert createkey("alice@acme.test") != createkey("ALICE@acme.test", name="second")
    assert (User.objects.count(), Organization.objects.count(), Membership.objects.count()) == (1, 1, 1)
    assert list(ApiKey.objects.order_by("created_at").values_list("name", flat=True)) == ["createkey", "second"]


def test_again_with_the_same_organization_reuses_it() -> None:
    createkey("alice@acme.test", organization="acme")
    createkey("alice@acme.test", organization=" acme ")
    createkey("alice@acme.test")
    assert [key.organization.name for key in ApiKey.objects.all()] == ["acme"] * 3
    assert Organization.objects.count() == 1


def test_another_organization_is_made_and_the_selected_one_stays() -> None:
    createkey("alice@acme.test", organization="acme")
    createkey("alice@acme.test", organization="labs")
    selected = User.objects.get().selected_organization
    assert selected is not None and selected.name == "acme"
    assert Membership.objects.get(organization__name="labs").role == Role.OWNER


def test_existing_organization_is_joined_as_owner() -> None:
    createkey("alice@acme.test", organization="acme")
    createkey("bob@acme.test", organization="acme")
    acme = Organization.objects.get()
    assert Membership.objects.get(user__email="bob@acme.test", organization=acme).role == Role.OWNER


def test_role_of_a_member_is_left_alone(bob: User) -> None:
    createkey(bob.email)
    assert Membership.objects.get(user=bob).role == Role.MEMBER


def test_ones_own_organization_wins_over_a_namesake(alice: User, acme: Organization, charlie: User) -> None:
    namesake = create_organization("acme", charlie)
    assert find_or_create_owner(charlie.email, "acme") == (charlie, namesake)


def test_name_of_several_organizations_is_refused(alice: User, acme: Organization, charlie: User) -> None:
    create_organization("acme", charlie)
    with pytest.raises(CommandError, match="More than one"):
        createkey("dora@acme.test", organization="acme")
    assert not User.objects.filter(email="dora@acme.test").exists()


def test_selected_one_of_several_organizations_is_meant(alice: User, acme: Organization) -> None:
    second = create_organization("second", alice)
    select_organization(alice, second)
    assert find_or_create_owner(alice.email) == (alice, second)


def test_several_organizations_and_none_selected_is_refused(alice: User, acme: Organization) -> None:
    create_organization("second", alice)
    User.objects.update(selected_organization=None)
    with pytest.raises(CommandError, match="More than one"):
        createkey(alice.email)


def test_selection_of_an_organization_left_is_replaced(alice: User, acme: Organization) -> None:
    second = create_organization("second", alice)
    Membership.objects.filter(organization=acme).delete()
    createkey(alice.email)
    assert User.objects.get().selected_organization == second


def test_deactivated_user_gets_no_key(alice: User, acme: Organization) -> None:
    User.objects.update(is_active=False)
    with pytest.raises(CommandError, match="deactivated"):
        createkey(alice.email)


@pytest.mark.parametrize(
    "email", ["", "alice", "a@b", "a b@c.test", "a@b.test\r\nBcc: c@d.test", "x" * 250 + "@b.test"]
)
def test_invalid_address_is_refused_in_one_line(email: str) -> None:
    with pytest.raises(CommandError) as refusal:
        createkey(email)
    assert refusal.value.returncode != 0
    assert len(str(refusal.value).splitlines()) == 1
    assert not User.objects.exists() and not Organization.objects.exists()


@pytest.mark.parametrize("options", [{"organization": ""}, {"organization": "\udcff"}, {"name": ""}])
def test_unusable_name_is_refused_and_nothing_is_made(options: dict[str, str]) -> None:
    with pytest.raises(CommandError):
        createkey("alice@acme.test", **options)
    assert not User.objects.exists() and not Organization.objects.exists()


def test_long_address_gives_an_organization_name_that_fits() -> None:
    createkey("x" * 240 + "@acme.test")
    assert Organization.objects.get().name == "x" * 200
