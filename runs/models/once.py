from datetime import timedelta

from django.db import models

from accounts.tenancy import TenantModel, TenantQuerySet
from runs.models.fields import JSONField


class CreatedOnce(TenantModel):
    """What a request with an Idempotency-Key made, for those who send it again."""

    KEPT_FOR = timedelta(hours=24)

    #: A digest of the key and of the route that it was sent to.
    key = models.CharField(max_length=64)
    #: Of the body.
    digest = models.CharField(max_length=64)
    #: Of what it made, in order.
    ids = JSONField(default=list)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = TenantQuerySet["CreatedOnce"].as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["organization", "owner", "key"], name="one_row_per_key")]
        indexes = [models.Index(fields=["created_at"])]

    def __str__(self) -> str:
        return self.key
