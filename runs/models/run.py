from typing import Self

from django.db import models
from django.db.models import Q

from accounts.tenancy import Tenant, TenantModel, TenantQuerySet
from runs.identifiers import new_id
from runs.models.assistant import Assistant
from runs.models.fields import JSONField
from runs.models.thread import Thread
from runs.states import ACTIVE, CancelAction, MultitaskStrategy, RunStatus


class RunQuerySet(TenantQuerySet["Run"]):
    def for_tenant(self, tenant: Tenant) -> Self:
        """The runs of the threads that the tenant can see."""
        visible = Q(thread__owner_id=tenant.user_id) | Q(thread__shared=True)
        return super().for_tenant(tenant).filter(visible)

    def active(self) -> Self:
        return self.filter(status__in=ACTIVE)


class Run(TenantModel):
    """One execution of an assistant on a thread, with the whole request that asked for it.

    At most one run of a thread is `running`. Whoever runs it holds its `claim`; every write of that attempt
    carries it, and a write whose claim is not the row's any more changes nothing.
    """

    run_id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    thread = models.ForeignKey(Thread, on_delete=models.CASCADE, related_name="runs")
    assistant = models.ForeignKey(Assistant, on_delete=models.SET_NULL, null=True, related_name="runs")
    graph_id = models.CharField(max_length=64)
    status = models.CharField(max_length=16, choices=RunStatus.choices, default=RunStatus.PENDING)
    #: What was asked for, with all defaults filled in: see `runs.services.requested`.
    kwargs = JSONField()
    metadata = JSONField(default=dict, blank=True)
    #: The run that this one goes on from, as its creator said.
    follow_up_to_run_id = models.UUIDField(null=True, blank=True)
    #: Who is told when it has ended: an address, or nobody.
    webhook = models.CharField(max_length=2048, blank=True, default="", db_default="")
    multitask_strategy = models.CharField(max_length=16, choices=MultitaskStrategy.choices)
    #: Its turn within the thread: the thread's `last_position` when it was created.
    position = models.BigIntegerField()
    #: The thread's last event when it was created: the run's own have higher numbers.
    after_seq = models.BigIntegerField()
    #: Not to be started earlier.
    not_before = models.DateTimeField(null=True, blank=True)

    attempt = models.PositiveIntegerField(default=0)
    #: How many attempts ended because their process was lost.
    crashes = models.PositiveIntegerField(default=0)
    claim = models.UUIDField(null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    #: The host that claimed it last.
    host = models.CharField(max_length=128, blank=True, default="")
    cancel_action = models.CharField(max_length=16, choices=CancelAction.choices, blank=True, default="")
    cancel_requested_at = models.DateTimeField(null=True, blank=True)

    #: `{"error": type, "message": text}` of a run that failed.
    error = JSONField(null=True, blank=True)

    # What it has said and used so far: see `runs.tally`.
    message_count = models.PositiveIntegerField(default=0, db_default=0)
    llm_call_count = models.PositiveIntegerField(default=0, db_default=0)
    total_input_tokens = models.PositiveBigIntegerField(default=0, db_default=0)
    total_output_tokens = models.PositiveBigIntegerField(default=0, db_default=0)
    total_tokens = models.PositiveBigIntegerField(default=0, db_default=0)
    lead_agent_tokens = models.PositiveBigIntegerField(default=0, db_default=0)
    subagent_tokens = models.PositiveBigIntegerField(default=0, db_default=0)
    middleware_tokens = models.PositiveBigIntegerField(default=0, db_default=0)
    #: `{model: {calls, input_tokens, output_tokens, total_tokens, cache_read_tokens}}`; null before the first call.
    tokens_by_model = JSONField(null=True, blank=True)
    model_name = models.CharField(max_length=255, blank=True, default="", db_default="")
    first_human_message = models.TextField(blank=True, default="", db_default="")
    last_ai_message = models.TextField(blank=True, default="", db_default="")

    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = RunQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["thread"], condition=Q(status=RunStatus.RUNNING), name="one_running_run_per_thread"
            ),
            models.UniqueConstraint(fields=["thread", "position"], name="one_run_per_position"),
        ]
        indexes = [
            models.Index(fields=["created_at"], condition=Q(status=RunStatus.PENDING), name="run_pending"),
            models.Index(fields=["lease_until"], condition=Q(status=RunStatus.RUNNING), name="run_leased"),
            models.Index(fields=["thread", "position"], condition=Q(status__in=ACTIVE), name="run_active"),
            models.Index(fields=["organization", "-created_at"]),
        ]

    def __str__(self) -> str:
        return str(self.run_id)
