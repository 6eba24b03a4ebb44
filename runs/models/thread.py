from datetime import datetime, timedelta
from typing import Self

from django.db import models
from django.db.models import Q

from accounts.tenancy import Tenant, TenantModel, TenantQuerySet
from runs.models.fields import JSONField
from runs.states import ThreadStatus


class ThreadQuerySet(TenantQuerySet["Thread"]):
    def for_tenant(self, tenant: Tenant) -> Self:
        """The tenant's own threads and those shared with its organisation."""
        return super().for_tenant(tenant).filter(Q(owner_id=tenant.user_id) | Q(shared=True))


class Thread(TenantModel):
    """The durable state of a conversation. Its checkpoints live in the checkpointer, under the same id."""

    thread_id = models.CharField(primary_key=True, max_length=64)
    #: Visible to everybody in the organisation.
    shared = models.BooleanField(default=False)
    #: Made for one stateless run; deleted with everything some time after that run has ended.
    temporary = models.BooleanField(default=False)
    status = models.CharField(max_length=16, choices=ThreadStatus.choices, default=ThreadStatus.IDLE)
    #: What its last run or change of state left it in: its status when no run is active.
    settled_status = models.CharField(
        max_length=16, choices=ThreadStatus.choices, default=ThreadStatus.IDLE, db_default=ThreadStatus.IDLE
    )
    #: The graph that ran last, or that its maker said it is for; empty when there is neither.
    graph_id = models.CharField(max_length=64, blank=True, default="")
    #: What the graph calls the conversation, or else its first message; see `runs.titles`.
    title = models.CharField(max_length=255, blank=True, default="", db_default="")
    #: Shown before the others; kept in step with the key `deerflow_pinned` of `metadata`.
    pinned = models.BooleanField(default=False, db_default=False)
    metadata = JSONField(default=dict, blank=True)
    config = JSONField(default=dict, blank=True)
    #: The state's values after the last run or update; null before the first.
    values = JSONField(null=True, blank=True)
    #: Pending interrupts by task.
    interrupts = JSONField(default=dict, blank=True)
    error = JSONField(null=True, blank=True)
    #: The number of the last event.
    last_seq = models.BigIntegerField(default=0)
    #: The position of the last run or state update; orders and fences them.
    last_position = models.BigIntegerField(default=0)
    #: After how many minutes without a change it is deleted or, by `ttl_strategy`, loses all but its last state.
    ttl_minutes = models.FloatField(null=True, blank=True)
    ttl_strategy = models.CharField(max_length=16, blank=True, default="", db_default="")
    #: When to look whether that is due: not later than it is (see `ends_at`).
    expires_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField()
    state_updated_at = models.DateTimeField()

    objects = ThreadQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(
                fields=["organization", "owner", "-pinned", "-updated_at", "-thread_id"], name="thread_latest"
            ),
            models.Index(fields=["organization", "owner", "-created_at", "-thread_id"], name="thread_newest"),
            models.Index(
                fields=["organization", "-pinned", "-updated_at", "-thread_id"],
                condition=Q(shared=True),
                name="thread_shared",
            ),
            models.Index(fields=["expires_at"], condition=Q(expires_at__isnull=False), name="thread_expiring"),
            models.Index(fields=["updated_at"], condition=Q(temporary=True), name="thread_temporary"),
        ]

    def __str__(self) -> str:
        return self.thread_id

    def is_open_to(self, tenant: Tenant) -> bool:
        """What `for_tenant` asks of a row, for many tenants at once."""
        return self.organization_id == tenant.organization_id and (self.shared or self.owner_id == tenant.user_id)

    @property
    def ends_at(self) -> datetime | None:
        """When its lifetime is over if nothing changes; every change puts it off."""
        return self.updated_at + timedelta(minutes=self.ttl_minutes) if self.ttl_minutes is not None else None


class Purge(models.Model):
    """A deleted thread whose checkpoints are still to be deleted. Until then its id can not be taken again."""

    thread_id = models.CharField(primary_key=True, max_length=64)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.thread_id
