"""Addresses that callers want to be told at."""

from functools import cache

from django.conf import settings

from accounts.tenancy import Tenant
from runs.addresses import AddressRefused, check_address
from runs.exceptions import Invalid
from runs.langgraph_json import read_config
from runs.lifecycle.deliveries import is_disabled
from runs.webhook_config import AddressRules

_FIELD = ("body", "webhook")


@cache  # The file is read at the start, here as in the hosts.
def _rules() -> AddressRules:
    return read_config(settings.LANGGRAPH_CONFIG).webhooks.rules


def check_webhook(tenant: Tenant, url: str) -> None:
    """Raises Invalid for an address that is not called, or that has told the tenant's organization that it is gone."""
    try:
        check_address(url, _rules())
    except AddressRefused as exc:
        raise Invalid(_FIELD, str(exc)) from exc
    if is_disabled(tenant.organization_id, url):
        raise Invalid(_FIELD, "has answered 410 Gone before: nothing is sent there any more")
