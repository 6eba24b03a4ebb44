"""The secrets that deliveries are signed with: one for each organization, made when it is first needed."""

import base64
import secrets
import uuid
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from runs.models import WebhookSecret

#: How long the secret before the last change signs too, so that receivers can be told one after the other.
OVERLAP = timedelta(hours=24)
_BYTES = 32


def _new() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(_BYTES)).decode()


def current_secret(organization_id: uuid.UUID) -> str:
    return _row(organization_id).current


def signing_secrets(organization_id: uuid.UUID) -> list[str]:
    """All that a delivery is signed with now: a receiver that knows one of them can verify it."""
    row = _row(organization_id)
    overlaps = row.rotated_at is not None and timezone.now() < row.rotated_at + OVERLAP
    return [row.current, row.previous] if row.previous and overlaps else [row.current]


def rotate_secret(organization_id: uuid.UUID) -> str:
    """Make a new secret; the one before signs too for OVERLAP, and any before that no more."""
    with transaction.atomic():
        _row(organization_id)
        row = WebhookSecret.objects.select_for_update().get(organization_id=organization_id)
        row.previous, row.current, row.rotated_at = row.current, _new(), timezone.now()
        row.save()
    return row.current


def _row(organization_id: uuid.UUID) -> WebhookSecret:
    row, _ = WebhookSecret.objects.get_or_create(organization_id=organization_id, defaults={"current": _new()})
    return row
