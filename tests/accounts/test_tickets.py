"""Tickets: one socket each, soon, as the credential that asked for it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.test import APIClient

from accounts.authentication import identify_by_api_key, identify_by_bearer
from accounts.models import ApiKey, Membership, Organization, User, WebSocketTicket
from accounts.services import revoke_tokens
from accounts.tickets import issue_ticket, sweep_tickets, use_ticket
from accounts.tokens import issue_access_token
from tests.factories import api_client, api_key_of

pytestmark = pytest.mark.django_db

ADDRESS = "/api/v1/auth/ws-ticket"


@pytest.fixture
def key(alice: User, acme: Organization) -> str:
    return api_key_of(alice)


@pytest.fixture
def ticket(key: str) -> str:
    return issue_ticket(identify_by_api_key(key)[1])


def refused(ticket: str) -> bool:
    try:
        use_ticket(ticket)
    except AuthenticationFailed:
        return True
    return False


def test_whoever_is_signed_in_may_have_one(alice, acme, key):
    answer = APIClient(headers={"x-api-key": key}).post(ADDRESS)
    assert answer.status_code == 200
    assert set(answer.json()) == {"ticket", "expires_in"} and answer.json()["expires_in"] == 30
    assert answer.headers["Cache-Control"] == "no-store"
    assert use_ticket(answer.json()["ticket"]) == identify_by_api_key(key)[1]


def test_nobody_else_may(alice, acme):
    assert APIClient().post(ADDRESS).status_code == 401
    assert not WebSocketTicket.objects.exists()


def test_a_field_is_refused_by_name(alice, acme):
    answer = api_client(alice).post(ADDRESS, {"ttl": 100})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "ttl"]


def test_it_acts_as_its_credential(key, ticket):
    used, shown = use_ticket(ticket), identify_by_api_key(key)[1]
    assert used == shown
    assert used.credential == shown.credential and used.credential.kind == "key"


def test_it_acts_where_its_maker_did(alice, acme):
    tenant = identify_by_bearer(issue_access_token(alice))[1]
    ticket = issue_ticket(tenant)
    alice.selected_organization = None
    alice.save()
    assert use_ticket(ticket).organization_id == acme.pk
    assert use_ticket(issue_ticket(tenant)).credential == tenant.credential


def test_it_is_used_once(ticket):
    use_ticket(ticket)
    assert refused(ticket)


@pytest.mark.parametrize("odd", ["", "x", "é", "x" * 101, "\0"])
def test_what_is_no_ticket_opens_nothing(ticket, odd):
    assert refused(odd)
    assert not refused(ticket)


def test_it_ends_after_its_time(ticket):
    WebSocketTicket.objects.update(expires_at=timezone.now() - timedelta(milliseconds=1))
    assert refused(ticket)
    assert sweep_tickets() == 1


def test_the_sweep_leaves_those_that_count(ticket):
    assert sweep_tickets() == 0
    assert not refused(ticket)


def test_only_its_digest_is_stored(ticket):
    assert ticket not in str(WebSocketTicket.objects.values_list())
    assert ticket not in str(WebSocketTicket.objects.get())


def test_a_revoked_key_takes_its_tickets_along(ticket):
    ApiKey.objects.all().revoke()
    assert refused(ticket)


def test_an_ended_session_takes_its_tickets_along(alice, acme):
    ticket = issue_ticket(identify_by_bearer(issue_access_token(alice))[1])
    revoke_tokens(alice)
    assert refused(ticket)


def test_an_ended_token_takes_its_tickets_along(alice, acme):
    tenant = identify_by_bearer(issue_access_token(alice))[1]
    ticket = issue_ticket(tenant)
    WebSocketTicket.objects.update(credential_expires_at=timezone.now())
    assert refused(ticket)


def test_who_comes_by_the_ticket_of_a_token_stays_no_longer_than_it(alice, acme):
    tenant = identify_by_bearer(issue_access_token(alice))[1]
    assert use_ticket(issue_ticket(tenant)).credential.expires_at == tenant.credential.expires_at


@pytest.mark.parametrize("key_or_token", ["key", "token"])
def test_who_is_no_member_any_more_has_none(alice, acme, key, key_or_token):
    tenant = identify_by_api_key(key)[1] if key_or_token == "key" else identify_by_bearer(issue_access_token(alice))[1]
    ticket = issue_ticket(tenant)
    Membership.objects.filter(user=alice).delete()
    assert refused(ticket)


def test_who_was_deactivated_has_none(alice, ticket):
    alice.is_active = False
    alice.save()
    assert refused(ticket)


def test_it_allows_what_its_maker_may_now(alice, ticket):
    Membership.objects.filter(user=alice).update(role="viewer")
    assert not use_ticket(ticket).can("runs:create")


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_one_wins(ticket):
    together = threading.Barrier(20)

    def use(_: int) -> bool:
        together.wait()
        try:
            return not refused(ticket)
        finally:
            connection.close()

    with ThreadPoolExecutor(20) as threads:
        assert sum(threads.map(use, range(20))) == 1
