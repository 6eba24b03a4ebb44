"""Browsers' programs sign in with `Authorization: Bearer <access token>`."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from rest_framework.response import Response
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import RefreshToken

from accounts.authentication import INVALID_ACCESS_TOKEN, NO_ORGANIZATION
from accounts.models import Membership, Organization, Role, User
from accounts.permissions import ROLE_PERMISSIONS
from accounts.services import create_organization, revoke_tokens, select_organization
from accounts.tenancy import Tenant
from accounts.tokens import VersionedAccessToken, issue_access_token

Ask = Callable[..., Response]

pytestmark = pytest.mark.usefixtures("acme")


def bearer(token: Any) -> str:
    return f"Bearer {token}"


def assert_refused(response: Response) -> None:
    assert response.status_code == 401
    assert response.data == {"detail": INVALID_ACCESS_TOKEN}
    assert "WWW-Authenticate" in response


def signed(user: User, *, without: str = "", **claims: Any) -> str:
    """A token that is right in everything but the claims given."""
    token = VersionedAccessToken.for_user(user)
    token.payload.update(claims)
    token.payload.pop(without, None)
    return str(token)


def unpadded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def forged(user: User, header: bytes, key: bytes | None = None) -> str:
    """A token with right claims and that header, with an HMAC of the key or without a signature."""
    claims = json.dumps(VersionedAccessToken.for_user(user).payload).encode()
    body = unpadded(header) + b"." + unpadded(claims)
    signature = b"" if key is None else unpadded(hmac.digest(key, body, hashlib.sha256))
    return (body + b"." + signature).decode()


def test_token_acts_as_its_user_in_the_selected_organization(ask: Ask, bob: User, acme: Organization) -> None:
    data = ask(authorization=bearer(issue_access_token(bob))).data
    assert data["user"] == bob.pk
    assert data["tenant"] == Tenant(acme.pk, bob.pk, ROLE_PERMISSIONS[Role.MEMBER])


def test_scheme_is_read_in_any_case(ask: Ask, bob: User) -> None:
    assert ask(authorization=f"bearer  {issue_access_token(bob)}").status_code == 200


def test_another_scheme_is_no_credential_of_ours(ask: Ask) -> None:
    response = ask(authorization="Basic YWxpY2U6c2VjcmV0")
    assert response.status_code == 401
    assert response.data["detail"] != INVALID_ACCESS_TOKEN


def test_authentication_is_one_query(ask: Ask, bob: User, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    token = issue_access_token(bob)
    with django_assert_num_queries(1):
        assert ask(authorization=bearer(token)).status_code == 200


def test_selecting_another_organization_counts_at_once(ask: Ask, bob: User) -> None:
    token = issue_access_token(bob)
    second = create_organization("second", bob)
    select_organization(bob, second)
    tenant = ask(authorization=bearer(token)).data["tenant"]
    assert tenant == Tenant(second.pk, bob.pk, ROLE_PERMISSIONS[Role.OWNER])


def test_unsigned_token_is_refused(ask: Ask, bob: User) -> None:
    for algorithm in ("none", "None", "NONE", ""):
        header = json.dumps({"alg": algorithm, "typ": "JWT"}).encode()
        assert_refused(ask(authorization=bearer(forged(bob, header))))


def test_token_signed_with_another_key_is_refused(ask: Ask, bob: User) -> None:
    header = b'{"alg":"HS256","typ":"JWT"}'
    site_key = api_settings.SIGNING_KEY.encode()
    assert ask(authorization=bearer(forged(bob, header, site_key))).status_code == 200
    for key in (b"", b"secret", site_key[:-1]):
        assert_refused(ask(authorization=bearer(forged(bob, header, key))))


@pytest.mark.parametrize(
    "extra", [{"kid": "../../dev/null"}, {"jku": "https://evil.test/k"}, {"x5u": "https://evil.test/k"}]
)
def test_token_that_brings_its_own_key_is_refused(ask: Ask, bob: User, extra: dict[str, str]) -> None:
    header = json.dumps({"alg": "HS256", "typ": "JWT", **extra}).encode()
    assert_refused(ask(authorization=bearer(forged(bob, header, b""))))


def test_token_signed_by_another_algorithm_is_refused(ask: Ask, bob: User) -> None:
    claims = VersionedAccessToken.for_user(bob).payload
    token = jwt.encode(claims, api_settings.SIGNING_KEY.ljust(64, "0"), algorithm="HS512")
    assert_refused(ask(authorization=bearer(token)))


@pytest.mark.parametrize("claim", ["exp", "user_id", "ver", "token_type", "jti"])
def test_token_without_a_claim_is_refused(ask: Ask, bob: User, claim: str) -> None:
    assert ask(authorization=bearer(signed(bob))).status_code == 200
    assert_refused(ask(authorization=bearer(signed(bob, without=claim))))


def from_now(**delta: float) -> int:
    return int((timezone.now() + timedelta(**delta)).timestamp())


WRONG_CLAIMS: dict[str, Callable[[], dict[str, Any]]] = {
    "expired": lambda: {"exp": from_now(seconds=-1)},
    "expires in ten years": lambda: {"exp": from_now(days=3650)},
    "expires too late for a date": lambda: {"exp": 10**30},
    "expires at a fraction": lambda: {"exp": from_now(seconds=60) + 0.5},
    "expires at a text": lambda: {"exp": str(from_now(seconds=60))},
    "expires never": lambda: {"exp": None},
    "expired before the epoch": lambda: {"exp": -1},
    "not valid yet": lambda: {"nbf": from_now(seconds=60)},
    "issued in the future": lambda: {"iat": from_now(seconds=60)},
    "refresh token": lambda: {"token_type": "refresh"},
    "no type": lambda: {"token_type": None},
    "next version": lambda: {"ver": 2},
    "version as text": lambda: {"ver": "1"},
    "version as boolean": lambda: {"ver": True},
    "no version": lambda: {"ver": None},
    "huge version": lambda: {"ver": 2**70},
    "user is no id": lambda: {"user_id": "alice"},
    "user is a number": lambda: {"user_id": 1},
    "user is null": lambda: {"user_id": None},
    "user is a list": lambda: {"user_id": ["a"]},
    "too long": lambda: {"extra": "x" * 5000},
    "unknown user": lambda: {"user_id": "00000000-0000-7000-8000-000000000000"},
}


@pytest.mark.parametrize("case", WRONG_CLAIMS)
def test_token_with_a_wrong_claim_is_refused(ask: Ask, bob: User, case: str) -> None:
    assert_refused(ask(authorization=bearer(signed(bob, **WRONG_CLAIMS[case]()))))


def test_refresh_token_opens_nothing(ask: Ask, bob: User) -> None:
    refresh = RefreshToken.for_user(bob)
    refresh["ver"] = bob.token_version
    assert_refused(ask(authorization=bearer(refresh)))


@pytest.mark.parametrize(
    "token",
    ["", "nonsense", "a.b.c", "a.b", "....", "two words", "ключ", "\ud800", "x\x00y", "x" * 5000, "[]", "e30.e30.e30"],
)
def test_nonsense_is_refused(ask: Ask, token: str) -> None:
    assert_refused(ask(authorization=bearer(token)))


def test_deeply_nested_header_is_refused(ask: Ask, bob: User) -> None:
    header = base64.urlsafe_b64encode(b"[" * 2900).decode()
    assert_refused(ask(authorization=bearer(f"{header}.e30.e30")))


def test_revoked_tokens_are_refused_and_new_ones_are_not(ask: Ask, bob: User) -> None:
    token = issue_access_token(bob)
    revoke_tokens(bob)
    assert_refused(ask(authorization=bearer(token)))
    assert ask(authorization=bearer(issue_access_token(bob))).status_code == 200


def test_new_password_ends_sessions(ask: Ask, bob: User) -> None:
    token = issue_access_token(bob)
    bob.set_password("a new one")
    bob.save()
    assert_refused(ask(authorization=bearer(token)))


def test_deactivated_user_is_refused(ask: Ask, bob: User) -> None:
    token = issue_access_token(bob)
    User.objects.filter(pk=bob.pk).update(is_active=False)
    assert_refused(ask(authorization=bearer(token)))


def test_deleted_user_is_refused(ask: Ask, bob: User) -> None:
    token = issue_access_token(bob)
    bob.delete()
    assert_refused(ask(authorization=bearer(token)))


def test_removed_member_acts_nowhere(ask: Ask, bob: User) -> None:
    token = issue_access_token(bob)
    Membership.objects.filter(user=bob).delete()
    response = ask(authorization=bearer(token))
    assert (response.status_code, response.data) == (403, {"detail": NO_ORGANIZATION})


def test_removed_member_does_not_slip_into_another_organization(ask: Ask, bob: User, acme: Organization) -> None:
    token = issue_access_token(bob)
    create_organization("second", bob)
    Membership.objects.filter(user=bob, organization=acme).delete()
    assert ask(authorization=bearer(token)).data == {"detail": NO_ORGANIZATION}


def test_user_without_organization_acts_nowhere(ask: Ask) -> None:
    dora = User.objects.create_user("dora@acme.test")
    response = ask(authorization=bearer(issue_access_token(dora)))
    assert (response.status_code, response.data) == (403, {"detail": "No organization selected."})


def test_deleted_organization_is_selected_no_more(ask: Ask, bob: User, acme: Organization) -> None:
    token = issue_access_token(bob)
    acme.delete()
    assert ask(authorization=bearer(token)).status_code == 403
