"""The row that lives until the work is settled: outbox, proof that work is owed, schedule and dead letter in one.

Guarantee: a row commits or rolls back with the change that it tells of, and is deleted in the effect's transaction.
Written by `broker`, leased and stamped by `relay`, settled, rescheduled or declared dead by `settlement`.
"""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class State(models.TextChoices):
    """Where a message is on its way. Settled and cancelled messages have no row any more."""

    PENDING = "pending", _("pending")
    PUBLISHED = "published", _("published")
    SCHEDULED = "scheduled", _("scheduled")
    DEAD = "dead", _("dead")


# What a relay takes up once it is due.
AWAITING = (State.PENDING, State.SCHEDULED)


class OutboxMessage(models.Model):
    """One sending of one message. It has an id of its own: the same Dramatiq message may be sent twice."""

    message_id = models.CharField(max_length=64)
    queue = models.CharField(max_length=100)
    actor = models.CharField(max_length=100)
    body = models.BinaryField()
    """The encoded message as it was sent; where it travels, its ticket (`envelope`) is added to its options."""

    state = models.CharField(max_length=9, choices=State.choices, default=State.PENDING)
    attempt = models.PositiveIntegerField(default=0)
    """Raised by retries and replays only: a copy of an older attempt is superseded and is dropped."""
    starts = models.PositiveIntegerField(default=0)
    """How often a redelivered copy was begun: what keeps killing its worker is given up."""
    due_at = models.DateTimeField(db_default=Now())

    lease_token = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)
    held_until = models.DateTimeField(null=True)
    published_at = models.DateTimeField(null=True)

    error = models.TextField(blank=True, default="")
    traceback = models.TextField(blank=True, default="")
    died_at = models.DateTimeField(null=True)

    subject = models.CharField(max_length=100, blank=True, default="")
    """What the message is about, such as `task:1`."""
    request_id = models.CharField(max_length=100, blank=True, default="")
    changed_by = models.CharField(max_length=200, blank=True, default="")
    changed_by_id = models.BigIntegerField(null=True)
    dedupe_key = models.CharField(max_length=200, null=True, unique=True)  # noqa: DJ001 – many have none
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = _("outbox message")
        verbose_name_plural = _("outbox messages")
        indexes = (
            models.Index(fields=("due_at", "id"), condition=Q(state__in=AWAITING), name="outbox_awaiting"),
            models.Index(fields=("queue", "published_at"), condition=Q(state=State.PUBLISHED), name="outbox_published"),
            models.Index(fields=("died_at",), condition=Q(state=State.DEAD), name="outbox_dead"),
            models.Index(fields=("subject",), condition=~Q(subject=""), name="outbox_subject"),
        )

    def __str__(self) -> str:
        return f"{self.actor} {self.message_id}"
