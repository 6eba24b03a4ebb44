from django.db import models

from runs.models.fields import JSONField
from runs.models.run import Run
from runs.models.thread import Thread


class Message(models.Model):
    """A message of a conversation, as the run that brought it left it.

    Its `seq` is that of the event by which the log tells of it, so that messages and events have one order.
    """

    thread = models.ForeignKey(Thread, on_delete=models.CASCADE, related_name="+", db_index=False)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="+", db_index=False)
    seq = models.BigIntegerField()
    #: `human`, `ai`, `tool` or `system`.
    kind = models.CharField(max_length=16)
    #: Who said it: `lead_agent`, `subagent:<name>` or `middleware:<name>`.
    caller = models.CharField(max_length=64)
    message_id = models.CharField(max_length=255)
    #: The message as LangChain dumps it.
    content = JSONField()
    metadata = JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["thread", "seq"], name="one_message_per_seq"),
            models.UniqueConstraint(fields=["run", "message_id"], name="one_message_per_run"),
        ]
        indexes = [models.Index(fields=["run", "seq"])]

    def __str__(self) -> str:
        return f"{self.thread_id} {self.seq}"
