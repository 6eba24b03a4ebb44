from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import Q

from accounts.models import Organization
from accounts.tenancy import Tenant
from runs.identifiers import new_id
from runs.models.fields import JSONField


class Graph(models.Model):
    """A graph that this server's configuration names. The engines say whether its code can be loaded."""

    graph_id = models.CharField(primary_key=True, max_length=64)
    #: Why the graph can not run; empty when it can.
    error = models.TextField(blank=True, default="")

    def __str__(self) -> str:
        return self.graph_id


class AssistantQuerySet(models.QuerySet["Assistant"]):
    def for_tenant(self, tenant: Tenant) -> Self:
        """The organisation's own assistants and the system's, which belong to everybody."""
        return self.filter(Q(organization_id=tenant.organization_id) | Q(organization=None))


class Assistant(models.Model):
    """A graph plus its configuration, as its current version has it.

    The system's own, one for each graph, have no organisation, and one version only.
    """

    assistant_id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    organization = models.ForeignKey(Organization, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    graph = models.ForeignKey(Graph, on_delete=models.CASCADE, related_name="assistants")
    name = models.CharField(max_length=255)
    description = models.TextField(null=True, blank=True)  # noqa: DJ001  null on the wire
    config = JSONField(default=dict, blank=True)
    context = JSONField(default=dict, blank=True)
    metadata = JSONField(default=dict, blank=True)
    version = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = AssistantQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["organization", "-created_at", "assistant_id"], name="assistant_newest")]

    def __str__(self) -> str:
        return self.name

    @property
    def is_system(self) -> bool:
        return self.organization_id is None


class AssistantVersion(models.Model):
    """What an assistant of an organisation was made or changed to; never changed itself."""

    assistant = models.ForeignKey(Assistant, on_delete=models.CASCADE, related_name="versions", db_index=False)
    version = models.PositiveIntegerField()
    graph = models.ForeignKey(Graph, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=255)
    description = models.TextField(null=True, blank=True)  # noqa: DJ001  null on the wire
    config = JSONField(default=dict, blank=True)
    context = JSONField(default=dict, blank=True)
    metadata = JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["assistant", "version"], name="one_assistant_per_version")]

    def __str__(self) -> str:
        return f"{self.assistant_id} {self.version}"
