"""What can be done with accounts: organizations, members, API keys. Each is one transaction."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from django.contrib.auth.hashers import make_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from accounts.api_keys import digest, generate_key
from accounts.exceptions import AlreadyMember, NotAMember, OrganizationAmbiguous, UserInactive
from accounts.models import ApiKey, Membership, Organization, Role, User
from accounts.permissions import ROLE_PERMISSIONS
from accounts.tenancy import Tenant


@transaction.atomic
def create_organization(name: str, owner: User) -> Organization:
    """Create an organization with its owner; a user's first organization becomes the selected one."""
    organization = Organization.objects.create(name=_clean_name(name))
    add_member(organization, owner, Role.OWNER)
    return organization


@transaction.atomic
def add_member(organization: Organization, user: User, role: Role = Role.MEMBER) -> Membership:
    """Make the user a member; a user's first organization becomes the selected one."""
    membership, is_new = Membership.objects.get_or_create(organization=organization, user=user, defaults={"role": role})
    if not is_new:
        raise AlreadyMember
    if user.selected_organization_id is None:
        select_organization(user, organization)
    return membership


def tenant_for(user_id: UUID, organization_id: UUID) -> Tenant | None:
    """The user acting in the organization, as at a request; None for who is deactivated or not a member any more."""
    memberships = Membership.objects.filter(user=user_id, organization=organization_id, user__is_active=True)
    role = memberships.values_list("role", flat=True).first()
    return Tenant(organization_id, user_id, ROLE_PERMISSIONS[Role(role)]) if role else None


def select_organization(user: User, organization: Organization) -> None:
    """Let the user's browser act in the organization."""
    if not Membership.objects.filter(organization=organization, user=user).exists():
        raise NotAMember
    user.selected_organization = organization
    user.save(update_fields=["selected_organization"])


def revoke_tokens(user: User) -> None:
    """End every session of the user: no access token issued so far opens anything from now on."""
    User.objects.filter(pk=user.pk).update(token_version=F("token_version") + 1)
    user.refresh_from_db(fields=["token_version"])


def issue_api_key(
    user: User, organization: Organization, name: str, expires_at: datetime | None = None
) -> tuple[ApiKey, str]:
    """Make a key for the user in the organization, and return it with its plaintext, which is nowhere else."""
    if not user.is_active:
        raise UserInactive
    if not Membership.objects.filter(organization=organization, user=user).exists():
        raise NotAMember
    if expires_at is not None and expires_at <= timezone.now():
        raise ValidationError({"expires_at": "This time is in the past."})
    plaintext, prefix = generate_key()
    key = ApiKey(
        organization=organization,
        user=user,
        name=name.strip(),
        prefix=prefix,
        hash=digest(plaintext),
        expires_at=expires_at,
    )
    key.clean_fields()
    key.save(force_insert=True)
    return key, plaintext


def revoke_api_key(key: ApiKey) -> bool:
    """Revoke the key for good; False if it already was."""
    return ApiKey.objects.filter(pk=key.pk).revoke() == 1


@transaction.atomic
def find_or_create_owner(email: str, organization_name: str | None = None) -> tuple[User, Organization]:
    """Return the user with that address and the organization meant, made if missing, with the user as its owner.

    Without a name it is the only organization of the user, or the selected one of several. With a name it is the user's
    own organization of that name, else the only one of that name, which the user joins as an owner.
    The organization becomes the selected one unless the user already acts in another. For operators: it asks nobody.
    """
    user = _find_or_create_user(email)
    if organization_name is None:
        organization = _only_organization(user)
        name = user.email.partition("@")[0][:200]
    else:
        name = _clean_name(organization_name)
        organization = _organization_named(name, user)
    if organization is None:
        organization = create_organization(name, user)
    elif not user.memberships.filter(organization=organization).exists():
        add_member(organization, user, Role.OWNER)
    if not user.memberships.filter(organization=user.selected_organization_id).exists():
        select_organization(user, organization)
    return user, organization


def _find_or_create_user(email: str) -> User:
    address = User._meta.get_field("email").clean(User.objects.normalize_email(email), None)
    User.objects.get_or_create(email=address, defaults={"password": make_password(None)})
    # The lock lets a second call for the same address find the organization that the first one makes.
    return User.objects.select_for_update().get(email=address)


def _clean_name(name: str) -> str:
    organization = Organization(name=name.strip())
    organization.clean_fields()
    return organization.name


def _only_organization(user: User) -> Organization | None:
    own = list(Organization.objects.filter(memberships__user=user))
    if len(own) > 1:
        own = [organization for organization in own if organization.pk == user.selected_organization_id] or own
    return _at_most_one(own)


def _organization_named(name: str, user: User) -> Organization | None:
    namesakes = Organization.objects.filter(name=name)
    return _at_most_one(namesakes.filter(memberships__user=user)[:2]) or _at_most_one(namesakes[:2])


def _at_most_one(candidates: Iterable[Organization]) -> Organization | None:
    found = list(candidates)
    if len(found) > 1:
        raise OrganizationAmbiguous
    return found[0] if found else None
