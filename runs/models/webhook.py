from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import Organization
from runs.identifiers import new_id


class DeliveryStatus(models.TextChoices):
    PENDING = "pending"
    DELIVERED = "delivered"
    #: The receiver could not be reached, or did not take it, until nobody tried any more.
    FAILED = "failed"
    #: The receiver has said before that it is gone.
    DISABLED = "disabled"


class Delivery(models.Model):
    """News of an ended run on their way to an address: written with the end, sent until they are taken.

    They outlive the run and its thread. Whoever sends them holds the `claim`, until `next_attempt_at`.
    """

    #: By which the receiver knows that it has had them already.
    delivery_id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+", db_index=False)
    run_id = models.UUIDField()
    #: May hold a key of the receiver's, like the address of a run.
    url = models.CharField(max_length=2048)
    #: The name or address and the port that `url` leads to: few deliveries go to one at a time.
    receiver = models.CharField(max_length=300)
    #: What is signed and sent, byte for byte; empty once it is not to be sent any more.
    payload = models.BinaryField()
    status = models.CharField(max_length=16, choices=DeliveryStatus.choices, default=DeliveryStatus.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    #: When it is due, by the database's clock.
    next_attempt_at = models.DateTimeField(db_default=Now())
    claim = models.UUIDField(null=True, blank=True)
    last_status_code = models.PositiveIntegerField(null=True, blank=True)
    #: A few words of this server's own, nothing that the receiver said.
    last_error = models.CharField(max_length=200, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)
    delivered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "deliveries"
        indexes = [
            models.Index(
                fields=["next_attempt_at"], condition=Q(status=DeliveryStatus.PENDING), name="delivery_pending"
            ),
            models.Index(fields=["created_at"]),
        ]

    def __str__(self) -> str:
        return str(self.delivery_id)


class WebhookEndpoint(models.Model):
    """An address that has answered that it is gone: an organization's runs do not tell it any more."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+", db_index=False)
    url = models.CharField(max_length=2048)
    disabled_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["organization", "url"], name="one_endpoint_per_url")]

    def __str__(self) -> str:
        return str(self.pk)


class WebhookSecret(models.Model):
    """What an organization's deliveries are signed with, in the form of Standard Webhooks: `whsec_` and base64."""

    organization = models.OneToOneField(Organization, primary_key=True, on_delete=models.CASCADE, related_name="+")
    current = models.CharField(max_length=64)
    #: Signs too for a day after `rotated_at`.
    previous = models.CharField(max_length=64, blank=True, default="")
    rotated_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return str(self.organization_id)
