"""Whether those who were let in for long would still be let in."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from django.utils import timezone

from accounts.models import ApiKey, Role, User
from accounts.permissions import ROLE_PERMISSIONS
from accounts.tenancy import Tenant


@dataclass(frozen=True, slots=True)
class _Holder:
    """Whose credential is good: its `token_version`, and the role in each organization where the credential counts."""

    version: int = 0
    roles: dict[UUID, str] = field(default_factory=dict)


def tenants_in_force(tenants: Sequence[Tenant]) -> list[Tenant | None]:
    """Each of these tenants as it is now; None where its credential is not good any more.

    Who is not a member of the organization any more is there without permissions. All keys are asked for with one
    query, and all others with one.
    """
    now = timezone.now()
    keys = {key for tenant in tenants if (key := _key(tenant))}
    holders = _holders_of_keys(keys, now) | _users({tenant.user_id for tenant in tenants if not _key(tenant)})
    return [_now(tenant, holders.get(_key(tenant) or tenant.user_id), now) for tenant in tenants]


def _key(tenant: Tenant) -> UUID | None:
    """The key that the tenant has shown."""
    return tenant.credential.id if tenant.credential and tenant.credential.kind == "key" else None


def _holders_of_keys(keys: Collection[UUID], now: datetime) -> dict[UUID, _Holder]:
    if not keys:
        return {}
    found = ApiKey.objects.in_force(now).filter(pk__in=keys).only("organization")
    return {key.pk: _Holder(roles={key.organization_id: key.role} if key.role else {}) for key in found}


def _users(users: Collection[UUID]) -> dict[UUID, _Holder]:
    if not users:
        return {}
    found: dict[UUID, _Holder] = {}
    rows = User.objects.filter(pk__in=users, is_active=True).values_list(
        "pk", "token_version", "memberships__organization_id", "memberships__role"
    )
    for user, version, organization, role in rows:
        roles = found.setdefault(user, _Holder(version)).roles
        if role:
            roles[organization] = role
    return found


def _now(tenant: Tenant, holder: _Holder | None, now: datetime) -> Tenant | None:
    credential = tenant.credential
    if holder is None or (credential and credential.version != holder.version):
        return None
    if credential and credential.expires_at and credential.expires_at <= now:
        return None
    role = holder.roles.get(tenant.organization_id)
    return replace(tenant, permissions=ROLE_PERMISSIONS[Role(role)] if role else frozenset())
