"""Programs sign in with `X-Api-Key`."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from rest_framework.response import Response

from accounts.authentication import INVALID_API_KEY, ApiKeyAuthentication, BearerAuthentication
from accounts.exceptions import NotAMember, UserInactive
from accounts.models import ApiKey, Membership, Organization, Role, User
from accounts.permissions import ROLE_PERMISSIONS
from accounts.services import add_member, create_organization, issue_api_key, revoke_api_key
from accounts.tenancy import Tenant
from accounts.tokens import issue_access_token

Ask = Callable[..., Response]


@pytest.fixture
def key(alice: User, acme: Organization) -> str:
    return issue_api_key(alice, acme, "laptop")[1]


def assert_refused(response: Response) -> None:
    assert response.status_code == 401
    assert response.data == {"detail": INVALID_API_KEY}
    assert response["WWW-Authenticate"] == "ApiKey"


def test_key_acts_as_its_user_in_its_organization(ask: Ask, key: str, alice: User, acme: Organization) -> None:
    data = ask(x_api_key=key).data
    assert data["user"] == alice.pk
    assert data["tenant"] == Tenant(acme.pk, alice.pk, ROLE_PERMISSIONS[Role.OWNER])


def test_key_keeps_to_its_organization_whatever_is_selected(ask: Ask, alice: User, acme: Organization) -> None:
    second = create_organization("second", alice)
    _, key = issue_api_key(alice, second, "laptop")
    assert alice.selected_organization == acme
    assert ask(x_api_key=key).data["tenant"].organization_id == second.pk


def test_key_has_the_role_in_its_own_organization(ask: Ask, bob: User, acme: Organization) -> None:
    create_organization("bobs", bob)
    _, key = issue_api_key(bob, acme, "laptop")
    assert ask(x_api_key=key).data["tenant"].permissions == ROLE_PERMISSIONS[Role.MEMBER]


def test_changed_role_counts_at_once(ask: Ask, key: str, alice: User) -> None:
    Membership.objects.filter(user=alice).update(role=Role.VIEWER)
    assert ask("post", x_api_key=key).status_code == 403


def test_head_needs_what_get_needs(ask: Ask, key: str, alice: User) -> None:
    assert ask("head", x_api_key=key).status_code == 200
    assert ask("head", x_api_key=key, view={"required_permissions": {"get": "something:else"}}).status_code == 403


def test_request_without_credentials_is_refused(ask: Ask) -> None:
    response = ask()
    assert (response.status_code, response["WWW-Authenticate"]) == (401, "ApiKey")


def test_authentication_is_one_query(
    ask: Ask, key: str, django_assert_num_queries: DjangoAssertNumQueries, db: None
) -> None:
    ask(x_api_key=key)
    with django_assert_num_queries(1):
        assert ask(x_api_key=key).status_code == 200


def test_refusal_is_one_query(ask: Ask, django_assert_num_queries: DjangoAssertNumQueries, db: None) -> None:
    with django_assert_num_queries(1):
        assert_refused(ask(x_api_key="dfk_00000000_unknown"))


def test_use_is_noted_once_a_minute(ask: Ask, key: str) -> None:
    ask(x_api_key=key)
    first_use = ApiKey.objects.get().last_used_at
    assert first_use is not None
    ask(x_api_key=key)
    assert ApiKey.objects.get().last_used_at == first_use

    a_while_ago = timezone.now() - timedelta(seconds=61)
    ApiKey.objects.update(last_used_at=a_while_ago)
    ask(x_api_key=key)
    last_use = ApiKey.objects.get().last_used_at
    assert last_use is not None and last_use > first_use


def test_slower_of_two_uses_does_not_turn_the_time_back(key: str) -> None:
    now = timezone.now()
    assert ApiKey.objects.all().mark_used(now) == 1
    assert ApiKey.objects.all().mark_used(now - timedelta(seconds=1)) == 0


def test_refused_key_is_not_noted_as_used(ask: Ask, key: str) -> None:
    ApiKey.objects.all().revoke()
    ask(x_api_key=key)
    assert ApiKey.objects.get().last_used_at is None


def test_revoked_key_is_refused(ask: Ask, alice: User, acme: Organization) -> None:
    row, key = issue_api_key(alice, acme, "laptop")
    assert revoke_api_key(row)
    assert_refused(ask(x_api_key=key))


def test_revoking_again_changes_nothing(alice: User, acme: Organization) -> None:
    row, _ = issue_api_key(alice, acme, "laptop")
    revoke_api_key(row)
    revoked_at = ApiKey.objects.get().revoked_at
    assert not revoke_api_key(row)
    assert ApiKey.objects.get().revoked_at == revoked_at


def test_expired_key_is_refused(ask: Ask, alice: User, acme: Organization) -> None:
    _, key = issue_api_key(alice, acme, "laptop", timezone.now() + timedelta(hours=1))
    assert ask(x_api_key=key).status_code == 200
    ApiKey.objects.update(expires_at=timezone.now())
    assert_refused(ask(x_api_key=key))


def test_key_of_a_deactivated_user_is_refused(ask: Ask, key: str) -> None:
    User.objects.update(is_active=False)
    assert_refused(ask(x_api_key=key))


def test_key_of_a_removed_member_is_refused(ask: Ask, key: str, alice: User, acme: Organization) -> None:
    create_organization("elsewhere", alice)
    Membership.objects.filter(organization=acme).delete()
    assert_refused(ask(x_api_key=key))


@pytest.mark.parametrize(
    "key",
    ["nonsense", "dfk_", "ключ", "k\x00y", "k\ud800y", "k\xffy", "x" * 201, "x" * 100_000, "' OR 1=1 --", "a, b"],
)
def test_nonsense_is_refused(ask: Ask, db: None, key: str) -> None:
    assert_refused(ask(x_api_key=key))


@pytest.mark.parametrize("key", ["x" * 201, "ключ"])
def test_what_cannot_be_a_key_is_refused_without_asking_the_database(
    ask: Ask, django_assert_num_queries: DjangoAssertNumQueries, db: None, key: str
) -> None:
    with django_assert_num_queries(0):
        assert_refused(ask(x_api_key=key))


def test_neither_prefix_nor_digest_opens_anything(ask: Ask, key: str) -> None:
    row = ApiKey.objects.get()
    for wrong in (row.prefix, row.hash, key[:-1], key + "x", key.upper()):
        assert_refused(ask(x_api_key=wrong))


def test_api_key_wins_over_a_bearer_token(ask: Ask, key: str, alice: User, charlie: User) -> None:
    bearer = f"Bearer {issue_access_token(charlie)}"
    assert ask(x_api_key=key, authorization=bearer).data["user"] == alice.pk
    assert_refused(ask(x_api_key="nonsense", authorization=bearer))


def test_api_key_wins_in_whichever_order_the_classes_are_listed(ask: Ask, key: str, alice: User, charlie: User) -> None:
    bearer_first = {"authentication_classes": (BearerAuthentication, ApiKeyAuthentication)}
    bearer = f"Bearer {issue_access_token(charlie)}"
    assert ask(view=bearer_first, x_api_key=key, authorization=bearer).data["user"] == alice.pk


def test_empty_header_is_no_credential(ask: Ask, charlie: User) -> None:
    bearer = f"Bearer {issue_access_token(charlie)}"
    assert ask(x_api_key=" ", authorization=bearer).data["user"] == charlie.pk


def test_key_is_shown_once_and_kept_as_a_digest(alice: User, acme: Organization) -> None:
    _, key = issue_api_key(alice, acme, "laptop")
    row = ApiKey.objects.values().get()
    assert row["prefix"] == key[:12]
    secret = key.removeprefix(row["prefix"] + "_")
    assert len(secret) >= 43  # 256 bits in base 64
    assert not any(secret in str(value) for value in row.values())


def test_keys_differ(alice: User, acme: Organization) -> None:
    assert len({issue_api_key(alice, acme, "laptop")[1] for _ in range(10)}) == 10


def test_key_is_not_issued_for_an_organization_of_others(charlie: User, acme: Organization) -> None:
    with pytest.raises(NotAMember):
        issue_api_key(charlie, acme, "laptop")


def test_key_is_not_issued_to_a_deactivated_user(acme: Organization) -> None:
    dora = User.objects.create_user("dora@acme.test", is_active=False)
    add_member(acme, dora)
    with pytest.raises(UserInactive):
        issue_api_key(dora, acme, "laptop")


def test_key_is_not_issued_for_the_past(alice: User, acme: Organization) -> None:
    with pytest.raises(ValidationError, match="past"):
        issue_api_key(alice, acme, "laptop", timezone.now())


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 201])
def test_key_needs_a_printable_name(alice: User, acme: Organization, name: str) -> None:
    with pytest.raises(ValidationError):
        issue_api_key(alice, acme, name)
    assert not ApiKey.objects.exists()
