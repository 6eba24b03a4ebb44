"""From a credential to the user and the `Tenant` that a request acts as: API keys and bearer access tokens.

`identify_by_api_key` and `identify_by_bearer` know nothing of requests, so that sockets can use them too.
Each asks the database once; they raise DRF's 401 with one sentence whatever is wrong, so that it tells nothing.
"""

from datetime import UTC, datetime
from uuid import UUID

from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from accounts.api_keys import MAX_KEY_LENGTH, digest
from accounts.models import LAST_USED_RESOLUTION, ApiKey, Role, User, role_of
from accounts.permissions import ROLE_PERMISSIONS
from accounts.prepared import Prepared
from accounts.tenancy import Credential, Tenant
from accounts.tokens import InvalidAccessToken, verify_access_token

API_KEY_HEADER = "X-Api-Key"
INVALID_API_KEY = "This API key is not valid."
INVALID_ACCESS_TOKEN = "This access token is not valid."
NO_ORGANIZATION = "No organization selected."

Identity = tuple[User, Tenant]

_USER_FIELDS = [field.attname for field in User._meta.concrete_fields]

# Every request of a program asks this.
_key_in_force = Prepared(
    lambda hash, now: (
        ApiKey.objects.in_force(now)
        .filter(hash=hash)
        .values_list("pk", "organization_id", "last_used_at", "role", *(f"user__{name}" for name in _USER_FIELDS))
    ),
    hash="example",
    now=datetime(2000, 1, 1, tzinfo=UTC),
)


def identify_by_api_key(key: str) -> Identity:
    """Return the key's user, acting in the key's organization, or raise 401."""
    if len(key) > MAX_KEY_LENGTH or not key.isascii():
        raise AuthenticationFailed(INVALID_API_KEY)
    now = timezone.now()
    row = _key_in_force.first(hash=digest(key), now=now)
    if row is None:
        raise AuthenticationFailed(INVALID_API_KEY)
    key_id, organization_id, last_used_at, role, *user_values = row
    if role is None:
        raise AuthenticationFailed(INVALID_API_KEY)
    if last_used_at is None or last_used_at <= now - LAST_USED_RESOLUTION:
        ApiKey.objects.filter(pk=key_id).mark_used(now)
    user = User.from_db(None, _USER_FIELDS, user_values)
    return user, _tenant(user, organization_id, role, Credential("key", key_id))


def identify_by_bearer(token: str) -> Identity:
    """Return the token's user, acting in the selected organization; raise 401, or 403 if there is none to act in."""
    try:
        claims = verify_access_token(token)
    except InvalidAccessToken as error:
        raise AuthenticationFailed(INVALID_ACCESS_TOKEN) from error
    users = User.objects.annotate(role=role_of("pk", in_organization="selected_organization"))
    user = users.filter(pk=claims.user_id, token_version=claims.version, is_active=True).first()
    if user is None:
        raise AuthenticationFailed(INVALID_ACCESS_TOKEN)
    if user.selected_organization_id is None or user.role is None:
        raise PermissionDenied(NO_ORGANIZATION)
    credential = Credential("token", user.pk, claims.version, claims.expires_at)
    return user, _tenant(user, user.selected_organization_id, user.role, credential)


def _tenant(user: User, organization_id: UUID, role: str, credential: Credential) -> Tenant:
    return Tenant(organization_id, user.pk, ROLE_PERMISSIONS[Role(role)], credential)


class ApiKeyAuthentication(BaseAuthentication):
    """`X-Api-Key: <key>`. An empty header is no credential."""

    def authenticate(self, request: Request) -> Identity | None:
        key = request.headers.get(API_KEY_HEADER, "").strip()
        return identify_by_api_key(key) if key else None

    def authenticate_header(self, request: Request) -> str:
        return "ApiKey"


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer <access token>`. Steps aside for an API key, in whichever order the two are listed."""

    def authenticate(self, request: Request) -> Identity | None:
        if request.headers.get(API_KEY_HEADER, "").strip():
            return None
        scheme, _, token = request.headers.get("Authorization", "").strip().partition(" ")
        return identify_by_bearer(token.strip()) if scheme.lower() == "bearer" else None

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"
