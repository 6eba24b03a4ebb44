"""Requests that create at most once, however often they are sent: by their Idempotency-Key."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.tenancy import Tenant
from runs.exceptions import Conflict, Invalid
from runs.models import CreatedOnce, Run


class Once(NamedTuple):
    """Digests of a key with its route, and of the body that came with it."""

    key: str
    digest: str


def create_once(tenant: Tenant, once: Once | None, create: Callable[[], Sequence[Run]]) -> Sequence[Run]:
    """What `create` makes, or what it made for the same key before, all in one transaction.

    A `create` that raises uses up no key. Raises Invalid for a key that came with another body, Conflict when what it
    made is gone.
    """
    with transaction.atomic():
        if once is None:
            return create()
        mine = CreatedOnce.objects.for_tenant(tenant).filter(owner_id=tenant.user_id, key=once.key)
        mine.filter(created_at__lt=timezone.now() - CreatedOnce.KEPT_FOR).delete()
        try:
            with transaction.atomic():
                row = CreatedOnce.objects.create(
                    organization_id=tenant.organization_id, owner_id=tenant.user_id, key=once.key, digest=once.digest
                )
        except IntegrityError:
            return _made_before(tenant, once, mine.get())
        made = create()
        row.run_ids = [str(run.run_id) for run in made]
        row.save(update_fields=["run_ids"])
        return made


def _made_before(tenant: Tenant, once: Once, row: CreatedOnce) -> Sequence[Run]:
    if row.digest != once.digest:
        raise Invalid(("header", "Idempotency-Key"), "was sent with another body before")
    found = {str(run.run_id): run for run in Run.objects.for_tenant(tenant).filter(run_id__in=row.run_ids)}
    if len(found) < len(row.run_ids):
        raise Conflict("What this Idempotency-Key made has been deleted.")
    return [found[run_id] for run_id in row.run_ids]
