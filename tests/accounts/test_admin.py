"""Operators' admin: secrets stay hidden, keys can only be revoked."""

import pytest
from django.contrib.admin import site
from django.test import Client
from django.urls import reverse

from accounts.models import ApiKey, Organization, User
from accounts.services import issue_api_key

MODELS = ("user", "organization", "membership", "apikey")


@pytest.fixture
def operator(db: None, client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root@acme.test", "a password"))
    return client


@pytest.fixture
def key(alice: User, acme: Organization) -> ApiKey:
    return issue_api_key(alice, acme, "laptop")[0]


@pytest.mark.parametrize("model", MODELS)
def test_lists_and_searches_work(operator: Client, key: ApiKey, model: str) -> None:
    response = operator.get(reverse(f"admin:accounts_{model}_changelist"), {"q": "acme"})
    assert response.status_code == 200


@pytest.mark.parametrize("model", MODELS)
def test_rows_open(operator: Client, key: ApiKey, model: str) -> None:
    row = site.get_model_admin(ApiKey._meta.apps.get_model("accounts", model)).model._default_manager.first()
    assert row is not None
    response = operator.get(reverse(f"admin:accounts_{model}_change", args=[row.pk]))
    assert response.status_code == 200


def test_key_is_shown_by_its_prefix_and_never_its_digest(operator: Client, key: ApiKey) -> None:
    for url in (
        reverse("admin:accounts_apikey_changelist"),
        reverse("admin:accounts_apikey_change", args=[key.pk]),
    ):
        page = operator.get(url).content.decode()
        assert key.prefix in page
        assert key.hash not in page


def test_keys_cannot_be_found_by_their_digest(operator: Client, key: ApiKey) -> None:
    response = operator.get(reverse("admin:accounts_apikey_changelist"), {"hash__startswith": key.hash[:4]})
    assert response.status_code == 400


def test_keys_cannot_be_added_or_edited(operator: Client, key: ApiKey) -> None:
    assert operator.get(reverse("admin:accounts_apikey_add")).status_code == 403
    assert operator.post(reverse("admin:accounts_apikey_change", args=[key.pk]), {"name": "x"}).status_code == 403


def test_keys_can_be_revoked(operator: Client, key: ApiKey) -> None:
    url = reverse("admin:accounts_apikey_changelist")
    operator.post(url, {"action": "revoke", "_selected_action": [str(key.pk)]})
    assert ApiKey.objects.get().revoked_at is not None


def test_user_is_added_and_its_password_changed(operator: Client) -> None:
    passwords = {"usable_password": "true", "password1": "tr0ub4dor&3 horse", "password2": "tr0ub4dor&3 horse"}
    operator.post(reverse("admin:accounts_user_add"), {"email": "Dora@Acme.Test", **passwords})
    dora = User.objects.get(email="dora@acme.test")
    operator.post(reverse("admin:auth_user_password_change", args=[dora.pk]), passwords)
    assert User.objects.get(pk=dora.pk).token_version == 2


def test_password_hash_is_masked(operator: Client, alice: User) -> None:
    alice.set_password("a password")
    alice.save()
    page = operator.get(reverse("admin:accounts_user_change", args=[alice.pk])).content.decode()
    assert alice.password.split("$")[-1] not in page
