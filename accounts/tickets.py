"""Tickets for WebSockets: browsers can send no header with a handshake, and an address is no place for a key.

A ticket opens one socket within `LIFETIME`, as the credential that it was made with; in an address it is worth nothing
to whoever reads it later.
"""

import secrets
from datetime import timedelta
from typing import Final, Literal

from django.utils import timezone
from rest_framework.exceptions import AuthenticationFailed

from accounts.access import tenants_in_force
from accounts.api_keys import digest
from accounts.models import WebSocketTicket
from accounts.tenancy import Credential, Tenant

LIFETIME: Final = timedelta(seconds=30)
INVALID_TICKET: Final = "This ticket is not valid."
#: Longer ones are not looked into; ours are 43 characters.
_MAX_LENGTH = 100
_SECRET_BYTES = 32


def issue_ticket(tenant: Tenant) -> str:
    """Make a ticket for the tenant, who came with a credential; it is nowhere else."""
    credential = tenant.credential
    if credential is None:
        raise ValueError("A ticket stands for a credential.")
    ticket = secrets.token_urlsafe(_SECRET_BYTES)
    WebSocketTicket.objects.create(
        hash=digest(ticket),
        organization_id=tenant.organization_id,
        user_id=tenant.user_id,
        credential_kind=credential.kind,
        credential_id=credential.id,
        credential_version=credential.version,
        credential_expires_at=credential.expires_at,
        expires_at=timezone.now() + LIFETIME,
    )
    return ticket


def use_ticket(ticket: str) -> Tenant:
    """Return who made the ticket, as they are now, and end the ticket; of many at once one wins. Raises 401."""
    if len(ticket) > _MAX_LENGTH or not ticket.isascii():
        raise AuthenticationFailed(INVALID_TICKET)
    unspent = WebSocketTicket.objects.filter(hash=digest(ticket), expires_at__gt=timezone.now())
    found = unspent.first()
    if found is None or unspent.delete()[0] != 1:
        raise AuthenticationFailed(INVALID_TICKET)
    kind: Literal["key", "token"] = "key" if found.credential_kind == "key" else "token"
    credential = Credential(kind, found.credential_id, found.credential_version, found.credential_expires_at)
    (tenant,) = tenants_in_force([Tenant(found.organization_id, found.user_id, frozenset(), credential)])
    if tenant is None or not tenant.permissions:
        raise AuthenticationFailed(INVALID_TICKET)
    return tenant


def sweep_tickets() -> int:
    """Delete the tickets that nobody used in time; return how many they were."""
    return WebSocketTicket.objects.filter(expires_at__lte=timezone.now()).delete()[0]
