"""Prepared querysets: the rows of the queryset, for any values, without composing it again."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import Q, QuerySet
from django.test.utils import CaptureQueriesContext

from accounts.models import ApiKey, Membership, Organization, Role, User
from accounts.prepared import Prepared
from accounts.services import issue_api_key

pytestmark = pytest.mark.django_db

MOMENT = datetime(2000, 1, 1, tzinfo=UTC)


def memberships(user_id: uuid.UUID, email: str) -> QuerySet[Membership, Any]:
    return Membership.objects.filter(user_id=user_id, user__email=email).values_list("organization_id", "role")


@pytest.fixture
def prepared() -> Prepared:
    return Prepared(memberships, user_id=uuid.UUID(int=1), email="example")


def test_rows_are_those_of_the_queryset(prepared: Prepared, alice: User, bob: User, charlie: User) -> None:
    for user in (alice, bob, charlie):
        expected = list(memberships(user.pk, user.email))
        assert len(expected) == 1
        assert [tuple(row) for row in prepared.rows(user_id=user.pk, email=user.email)] == expected
    assert prepared.rows(user_id=alice.pk, email=bob.email) == []


def test_the_first_row_or_none(prepared: Prepared, alice: User, acme: Organization) -> None:
    assert tuple(prepared.first(user_id=alice.pk, email=alice.email) or ()) == (acme.pk, Role.OWNER)
    assert prepared.first(user_id=acme.pk, email=alice.email) is None


def test_values_are_no_sql(prepared: Prepared, alice: User, acme: Organization) -> None:
    for email in ("' OR 1=1 --", "%s", "%(email)s", "example"):
        assert prepared.rows(user_id=alice.pk, email=email) == []


def test_it_is_composed_once(alice: User, acme: Organization) -> None:
    composed: list[str] = []

    def build(email: str) -> QuerySet[User, Any]:
        composed.append(email)
        return User.objects.filter(email=email).values_list("pk")

    prepared = Prepared(build, email="example")
    for user in (alice, alice):
        with CaptureQueriesContext(connection) as queries:
            assert [tuple(row) for row in prepared.rows(email=user.email)] == [(alice.pk,)]
        assert len(queries) == 1
    assert composed == ["example"]


def test_every_kind_of_value_comes_out_as_the_queryset_converts_it(alice: User, acme: Organization) -> None:
    key, _ = issue_api_key(alice, acme, "laptop", datetime.now(UTC) + timedelta(days=1))

    def build(now: datetime) -> QuerySet[ApiKey, Any]:
        keys = ApiKey.objects.filter(expires_at__gt=now)
        return keys.values_list("pk", "expires_at", "revoked_at", "user__is_active", "user__token_version", "name")

    row = Prepared(build, now=MOMENT).first(now=datetime.now(UTC))
    assert tuple(row or ()) == build(datetime.now(UTC)).get() == (key.pk, key.expires_at, None, True, 1, "laptop")
    assert Prepared(build, now=MOMENT).rows(now=datetime.now(UTC) + timedelta(days=2)) == []


def test_constants_stand_in_the_statement() -> None:
    """A partial index is used only where its condition stands literally."""
    prepared = Prepared(
        lambda email: User.objects.filter(Q(email=email), memberships__role="owner").values_list("pk"), email="example"
    )
    statements: list[str] = []

    def note(execute: Callable[..., Any], sql: str, *args: Any) -> Any:
        statements.append(sql)
        return execute(sql, *args)

    with connection.execute_wrapper(note):
        prepared.rows(email="alice@acme.test")
    assert "= 'owner'" in statements[0] and "example" not in statements[0]


@pytest.mark.parametrize(
    "build",
    [
        lambda email, name: User.objects.filter(email=email).values_list("pk"),
        lambda email, name: User.objects.filter(email="fixed@acme.test").values_list("pk"),
    ],
)
def test_a_parameter_that_the_query_does_not_hold_is_refused(build: Callable[..., QuerySet[User, Any]]) -> None:
    with pytest.raises(ValueError, match="name"):
        Prepared(build, email="example", name="another").rows(email="a", name="b")


def test_a_missing_value_is_refused(prepared: Prepared) -> None:
    with pytest.raises(KeyError):
        prepared.rows(email="alice@acme.test")
