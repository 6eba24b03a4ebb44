"""Who is asking: the `Tenant` value, and the base of every row that belongs to an organization."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple, Self, TypeVar
from uuid import UUID

from django.conf import settings
from django.db import models

M = TypeVar("M", bound=models.Model, covariant=True)


class Credential(NamedTuple):
    """What a caller has shown, so that who stays for long can be asked again: see `accounts.access`."""

    kind: Literal["key", "token"]
    #: Of the key, or of the user whose token it is.
    id: UUID
    #: The `token_version` of a token.
    version: int = 0
    #: When a token ends; a key says so itself.
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Tenant:
    """One user acting in one organization, with what their role allows; made once for a request or a socket."""

    organization_id: UUID
    user_id: UUID
    permissions: frozenset[str]
    #: None for who acts without a request.
    credential: Credential | None = field(default=None, compare=False)

    def can(self, permission: str) -> bool:
        return permission in self.permissions


class TenantQuerySet(models.QuerySet[M]):
    """Rows of models that have an `organization`; every query for a caller starts with `for_tenant`."""

    def for_tenant(self, tenant: Tenant) -> Self:
        """Keep the rows that the tenant may know of: its organization's, unless the model has a narrower rule."""
        return self.filter(organization_id=tenant.organization_id)


class TenantModel(models.Model):
    """A row that belongs to an organization and, where a person made it, to its owner.

    An organization with rows cannot be deleted: checkpoints and files live outside this database, so
    its rows must be deleted by the services that know of them. A row outlives its owner.
    Each model names its own `objects = <a TenantQuerySet>.as_manager()`, which keeps queries typed.
    """

    organization = models.ForeignKey("accounts.Organization", on_delete=models.PROTECT, related_name="+")
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, related_name="+", null=True, blank=True
    )

    class Meta:
        abstract = True
