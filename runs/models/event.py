from django.db import models

from runs.models.run import Run
from runs.models.thread import Thread


class EventChunk(models.Model):
    """The events that one run appended to its thread in one commit: see `runs.records`."""

    thread = models.ForeignKey(Thread, on_delete=models.CASCADE, related_name="+", db_index=False)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="+", db_index=False)
    first_seq = models.BigIntegerField()
    last_seq = models.BigIntegerField()
    payload = models.BinaryField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["thread", "last_seq"], name="one_chunk_per_seq")]
        indexes = [
            models.Index(fields=["run", "last_seq"]),
            models.Index(fields=["created_at"]),
        ]

    def __str__(self) -> str:
        return f"{self.thread_id} {self.first_seq}..{self.last_seq}"
