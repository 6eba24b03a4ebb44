from typing import Any, Self

from django.db import models
from django.db.models import Q

from accounts.tenancy import Tenant, TenantModel, TenantQuerySet
from runs.identifiers import new_id
from runs.models.assistant import Assistant
from runs.models.fields import JSONField
from runs.models.thread import Thread
from runs.states import MultitaskStrategy


class CronQuerySet(TenantQuerySet["Cron"]):
    def for_tenant(self, tenant: Tenant) -> Self:
        """The tenant's own crons, and those on threads that the tenant can see."""
        visible = Q(owner_id=tenant.user_id) | Q(thread__owner_id=tenant.user_id) | Q(thread__shared=True)
        return super().for_tenant(tenant).filter(visible)


class Cron(TenantModel):
    """A request for a run that is made again and again, in the name of its owner.

    Whoever moves `next_run_at` on from a time that has come starts the run of that time, in the same transaction.
    """

    cron_id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    assistant = models.ForeignKey(Assistant, on_delete=models.CASCADE, related_name="+")
    #: Null: each run has a new thread of its own.
    thread = models.ForeignKey(Thread, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    #: See `runs.schedules`.
    schedule = models.CharField(max_length=255)
    #: The name of the zone that the schedule is read in; empty: UTC.
    timezone = models.CharField(max_length=64, blank=True, default="")
    #: No run is started later.
    end_time = models.DateTimeField(null=True, blank=True)
    enabled = models.BooleanField(default=True)
    #: When the next run is due; null when it is disabled or over.
    next_run_at = models.DateTimeField(null=True, blank=True)
    #: What becomes of a run's own thread, `delete` or `keep`; empty where the thread is given.
    on_run_completed = models.CharField(max_length=16, blank=True, default="")
    #: What its owner asked for of each run.
    payload = JSONField(default=dict, blank=True)
    metadata = JSONField(default=dict, blank=True)
    #: Why no run was started the last time; empty when one was.
    error = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField()

    objects = CronQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["next_run_at"], condition=Q(next_run_at__isnull=False), name="cron_due"),
            models.Index(fields=["organization", "owner", "-created_at"], name="cron_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.schedule} {self.timezone or 'UTC'}"

    def request(self) -> dict[str, Any]:
        """The body with which each of its runs is asked for. On a thread that is busy it waits its turn."""
        own = {"cron_id": str(self.cron_id)}
        config: dict[str, Any] = self.payload.get("config") or {}
        return {
            "multitask_strategy": MultitaskStrategy.ENQUEUE.value,
            **self.payload,
            "assistant_id": str(self.assistant_id),
            "config": {**config, "configurable": {**(config.get("configurable") or {}), **own}},
            "metadata": {**self.metadata, **own},
        }
