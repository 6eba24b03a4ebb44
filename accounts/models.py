"""Users, organizations, memberships and API keys. Intents with more than one effect are in `services`."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import F, OuterRef, Q, Subquery
from django.db.models.functions import Lower
from django.utils import timezone
from uuid_utils.compat import uuid7

from accounts.tenancy import TenantQuerySet

#: `last_used_at` of a key is not written more often than this.
LAST_USED_RESOLUTION = timedelta(minutes=1)

no_control_characters = RegexValidator(
    r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", "Control characters are not allowed.", inverse_match=True
)


class Role(models.TextChoices):
    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"
    VIEWER = "viewer"


class UserManager(BaseUserManager["User"]):
    @classmethod
    def normalize_email(cls, email: str | None) -> str:
        """Return the one spelling under which an address is stored and looked up: trimmed, in lower case."""
        return (email or "").strip().lower()

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email=self.normalize_email(username))

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Create a user; without a password it cannot sign in with one."""
        if not email:
            raise ValueError("A user needs an e-mail address.")
        user = self.model(email=email, **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        return self.create_user(email, password, **{"is_staff": True, "is_superuser": True, **fields})


class User(AbstractBaseUser, PermissionsMixin):
    """A person, known by an e-mail address whatever its case.

    Access tokens carry `token_version`; a new password raises it, so it ends every session.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    email = models.EmailField(max_length=254, unique=True)
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False)
    date_joined = models.DateTimeField(default=timezone.now, editable=False)
    #: Tokens of any other version are refused.
    token_version = models.PositiveIntegerField(default=1, editable=False)
    #: Where a browser of this user acts; it counts only while the user is a member there.
    selected_organization = models.ForeignKey(
        "accounts.Organization", on_delete=models.SET_NULL, related_name="+", null=True, blank=True
    )

    _password: str | None

    objects: ClassVar[UserManager] = UserManager()

    EMAIL_FIELD = "email"
    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                Lower("email"),
                name="accounts_user_email_any_case",
                violation_error_message="User with this Email already exists.",
            )
        ]

    def save(self, *args: Any, update_fields: Iterable[str] | None = None, **kwargs: Any) -> None:
        self.email = UserManager.normalize_email(self.email)
        # Django forgets the raw password when it only upgrades a hash, so this sees real changes alone.
        new_password = self._password is not None and not self._state.adding
        if new_password:
            self.token_version = F("token_version") + 1
            update_fields = update_fields and {*update_fields, "token_version"}
        super().save(*args, update_fields=update_fields, **kwargs)
        if new_password:
            self.refresh_from_db(fields=["token_version"])


class Organization(models.Model):
    """A customer: people share its workflows and each other's shared threads, and nothing crosses its border."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=200, validators=[no_control_characters])
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """A user's one role in an organization."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organization", "user"], name="accounts_membership_once"),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="accounts_membership_known_role"),
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.organization}: {self.role}"


def role_of(user: str, *, in_organization: str) -> Subquery:
    """Look up the role that the user in one column has in the organization in another: null unless a member."""
    membership = Membership.objects.filter(user=OuterRef(user), organization=OuterRef(in_organization))
    return Subquery(membership.values("role"))


class ApiKeyQuerySet(TenantQuerySet["ApiKey"]):
    def in_force(self, now: datetime) -> Self:
        """Keep the keys that are neither revoked nor expired nor of a deactivated user, each with its `role`."""
        unexpired = Q(expires_at=None) | Q(expires_at__gt=now)
        in_force = self.filter(unexpired, revoked_at=None, user__is_active=True)
        return in_force.annotate(role=role_of("user", in_organization="organization"))

    def mark_used(self, now: datetime) -> int:
        """Note the use, unless one was noted within `LAST_USED_RESOLUTION`."""
        stale = Q(last_used_at=None) | Q(last_used_at__lte=now - LAST_USED_RESOLUTION)
        return self.filter(stale).update(last_used_at=now)

    def revoke(self) -> int:
        """Revoke for good those not revoked yet, and return how many they were."""
        return self.filter(revoked_at=None).update(revoked_at=timezone.now())


class ApiKey(models.Model):
    """Lets a program act as one user in one organization. The key itself is not stored, only its digest."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="api_keys")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=200, validators=[no_control_characters])
    #: The beginning of the key, by which people recognise it; no part of its secret.
    prefix = models.CharField(max_length=16, editable=False)
    #: SHA-256 of the whole key, in hexadecimal. A plain digest is enough for 256 random bits.
    hash = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    #: Of the user in the organization, None if no longer a member; only on rows from `in_force`.
    role: str | None

    objects = ApiKeyQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.prefix}… ({self.name})"


class WebSocketTicket(models.Model):
    """Opens one WebSocket, soon, as the credential that it was made with. Only its digest is stored."""

    #: SHA-256 of the ticket, in hexadecimal.
    hash = models.CharField(max_length=64, primary_key=True)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    #: The `Credential` of the tenant that asked for it.
    credential_kind = models.CharField(max_length=10)
    credential_id = models.UUIDField()
    credential_version = models.PositiveIntegerField()
    credential_expires_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"ticket of {self.user_id} until {self.expires_at}"
