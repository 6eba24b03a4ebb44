"""Which addresses a caller may ask to be told at."""

import pytest

from accounts.models import User
from accounts.tenancy import Tenant
from runs.exceptions import Invalid
from runs.models import WebhookEndpoint
from runs.services import webhooks
from runs.webhook_config import AddressRules
from tests.factories import WEBHOOK, tenant_of

pytestmark = pytest.mark.django_db


def test_a_public_address_is_taken(tenant: Tenant) -> None:
    webhooks.check_webhook(tenant, WEBHOOK)


def test_a_private_one_is_refused_by_the_fields_name(tenant: Tenant) -> None:
    with pytest.raises(Invalid, match="must not lead to a private address") as refusal:
        webhooks.check_webhook(tenant, "http://127.0.0.1:8000/")
    assert refusal.value.loc == ("body", "webhook")


def test_the_operators_rules_hold(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "_rules", lambda: AddressRules(require_https=True))
    with pytest.raises(Invalid, match="https"):
        webhooks.check_webhook(tenant, "http://hooks.example.com/")


def test_one_that_is_gone_is_refused_to_the_organization_that_was_told_so(tenant: Tenant, charlie: User) -> None:
    WebhookEndpoint.objects.create(organization_id=tenant.organization_id, url=WEBHOOK)
    with pytest.raises(Invalid, match="410"):
        webhooks.check_webhook(tenant, WEBHOOK)
    webhooks.check_webhook(tenant_of(charlie), WEBHOOK)
