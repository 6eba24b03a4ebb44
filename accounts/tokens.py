"""Access tokens: signed by simplejwt with the site's key, short-lived, and revocable by the user's `token_version`."""

from datetime import UTC, datetime
from typing import Any, NamedTuple, Self, cast
from uuid import UUID

from django.utils import timezone
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import AccessToken, Token

from accounts.models import User

VERSION_CLAIM = "ver"
#: Longer ones are not looked into; ours are about 300 characters.
MAX_TOKEN_LENGTH = 4096


class InvalidAccessToken(Exception):
    """This access token is not valid."""


class AccessClaims(NamedTuple):
    user_id: UUID
    version: int
    expires_at: datetime


class VersionedAccessToken(AccessToken):
    """An access token that names the `token_version` of its user."""

    @classmethod
    def for_user(cls, user: Any) -> Self:
        token = super().for_user(user)
        token[VERSION_CLAIM] = user.token_version
        return token

    def verify(self) -> None:
        """Also refuse a token that lives longer than this site grants: it was not made under its settings."""
        expires = self.payload.get("exp")
        granted = (timezone.now() + api_settings.ACCESS_TOKEN_LIFETIME).timestamp()
        if type(expires) is not int or expires > granted + 1:
            raise TokenError("Token has no acceptable 'exp' claim")
        super().verify()


def issue_access_token(user: User) -> str:
    return str(VersionedAccessToken.for_user(user))


def verify_access_token(token: str) -> AccessClaims:
    """Return the claims of a token of ours that has not expired, or raise `InvalidAccessToken`.

    Whether the user still is who the claims say, and of that version, is for the caller to look up.
    """
    if len(token) > MAX_TOKEN_LENGTH:
        raise InvalidAccessToken
    try:
        claims = VersionedAccessToken(cast(Token, token))  # simplejwt annotates the text as a Token
        version = claims[VERSION_CLAIM]
        user_id = UUID(claims[api_settings.USER_ID_CLAIM])
        expires_at = datetime.fromtimestamp(claims["exp"], UTC)
    except (TokenError, KeyError, ValueError, AttributeError, TypeError) as error:
        raise InvalidAccessToken from error
    if type(version) is not int:
        raise InvalidAccessToken
    return AccessClaims(user_id, version, expires_at)
