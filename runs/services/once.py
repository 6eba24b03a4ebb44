"""Requests that create at most once, however often they are sent: by their Idempotency-Key."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from django.db import IntegrityError, models, transaction
from django.utils import timezone

from accounts.tenancy import Tenant, TenantQuerySet
from runs.exceptions import Conflict, Invalid
from runs.models import CreatedOnce

AnyRow = TypeVar("AnyRow", bound=models.Model)


class Once(NamedTuple):
    """Digests of a key with its route, and of the body that came with it."""

    key: str
    digest: str


def made_before(tenant: Tenant, once: Once | None, rows: models.QuerySet[AnyRow]) -> Sequence[AnyRow] | None:
    """Those of `rows` that a request with this key made; None when there was none. Raises as `create_once`.

    Whoever asks this before the request is looked at answers a repetition even when it could not be obeyed any more.
    """
    if once is None:
        return None
    kept = _of_key(tenant, once).filter(created_at__gte=timezone.now() - CreatedOnce.KEPT_FOR).first()
    return None if kept is None else _rows_of(kept, once, rows)


def create_once(
    tenant: Tenant, once: Once | None, rows: models.QuerySet[AnyRow], create: Callable[[], Sequence[AnyRow]]
) -> Sequence[AnyRow]:
    """What `create` makes, or those of `rows` that it made for the same key before, all in one transaction.

    A `create` that raises uses up no key. Raises Invalid for a key that came with another body, Conflict when what it
    made is gone.
    """
    with transaction.atomic():
        if once is None:
            return create()
        mine = _of_key(tenant, once)
        mine.filter(created_at__lt=timezone.now() - CreatedOnce.KEPT_FOR).delete()
        try:
            with transaction.atomic():
                row = CreatedOnce.objects.create(
                    organization_id=tenant.organization_id, owner_id=tenant.user_id, key=once.key, digest=once.digest
                )
        except IntegrityError:
            return _rows_of(mine.get(), once, rows)
        made = create()
        row.ids = [str(each.pk) for each in made]
        row.save(update_fields=["ids"])
        return made


def _of_key(tenant: Tenant, once: Once) -> TenantQuerySet[CreatedOnce]:
    return CreatedOnce.objects.for_tenant(tenant).filter(owner_id=tenant.user_id, key=once.key)


def _rows_of(kept: CreatedOnce, once: Once, rows: models.QuerySet[AnyRow]) -> Sequence[AnyRow]:
    if kept.digest != once.digest:
        raise Invalid(("header", "Idempotency-Key"), "was sent with another body before")
    found = {str(row.pk): row for row in rows.filter(pk__in=kept.ids)}
    if len(found) < len(kept.ids):
        raise Conflict("What this Idempotency-Key made has been deleted.")
    return [found[key] for key in kept.ids]
