"""The row of a message until it is settled: outbox, record of unsettled work, schedule and dead letter in one.

Guarantee: a row commits or rolls back with the change that caused it. It is deleted when its work is done or skipped,
cancelled or discarded, and at no other time; an effect in the database commits with the deletion. `broker` inserts it,
`relay` claims it and marks it as published, `worker.execution` settles it, reschedules it or makes it dead,
`dead_letters` keeps it for a decision, `maintenance.lost_messages` makes it pending again.
"""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class State(models.TextChoices):
    """The state of a message. A settled, cancelled or discarded message has no row."""

    PENDING = "pending", _("pending")
    PUBLISHED = "published", _("published")
    SCHEDULED = "scheduled", _("scheduled")
    DEAD = "dead", _("dead")


# The states of rows that a relay claims once they are due.
AWAITING = (State.PENDING, State.SCHEDULED)


MAX_TEXT_LENGTH = 20_000
UNLEASED: dict[str, Any] = {"lease_token": None, "lease_until": None, "held_until": None, "held_by": None}


class OutboxMessageQuerySet(models.QuerySet["OutboxMessage"]):
    """Outbox rows, and the state change that several modules make."""

    def mark_dead(self, reason: str, *, error: str = "", traceback: str = "") -> int:
        """Make the rows dead letters, without lease and deduplication key; return how many there were."""
        texts = {"reason": reason, "error": clean(error), "traceback": clean(traceback)}
        return self.update(state=State.DEAD, died_at=Now(), dedupe_key=None, **texts, **UNLEASED)


class OutboxMessage(models.Model):
    """One send of one Dramatiq message. The id is the row's: the same message may be sent twice."""

    message_id = models.CharField(_("message id"), max_length=64)
    queue = models.CharField(_("queue"), max_length=100)
    actor = models.CharField(_("actor"), max_length=100)
    body = models.BinaryField(_("body"))
    """The encoded message as it was sent, while it is retried with `envelope.RETRY_OPTIONS`; `envelope` adds the
    attempt reference when it is published."""

    state = models.CharField(_("state"), max_length=9, choices=State.choices, default=State.PENDING)
    attempt = models.PositiveIntegerField(_("attempt"), default=0)
    """Raised by retries and replays only; a copy of an older attempt is superseded, and is dropped."""
    first_attempt = models.PositiveIntegerField(_("first attempt"), default=0, db_default=0)
    """The attempt that the last replay began: retries are counted from it."""
    starts = models.PositiveIntegerField(_("starts"), default=0)
    """How often it began since it may have killed a worker; at `poison.MAX_STARTS` it becomes a dead letter."""
    due_at = models.DateTimeField(_("due at"), db_default=Now())

    lease_token = models.UUIDField(_("lease"), null=True)
    lease_until = models.DateTimeField(_("leased until"), null=True)
    held_until = models.DateTimeField(_("held until"), null=True)
    held_by = models.UUIDField(_("held by"), null=True)
    """The execution that has the execution lease, which lasts until `held_until`."""
    claimed_at = models.DateTimeField(_("claimed at"), null=True)
    """When a relay last claimed it for publishing."""
    published_at = models.DateTimeField(_("published at"), null=True)

    reason = models.CharField(_("reason"), max_length=40, blank=True, default="", db_default="")
    """Why it is dead: `retries exhausted`, `throws`, `unknown actor` …; empty in any other state."""
    error = models.TextField(_("error"), blank=True, default="")
    traceback = models.TextField(_("traceback"), blank=True, default="")
    died_at = models.DateTimeField(_("died at"), null=True)

    subject = models.CharField(_("subject"), max_length=100, blank=True, default="")
    """What the message is about, such as `task:1`."""
    sequence = models.PositiveBigIntegerField(_("sequence"), null=True)
    """Its number among the messages about its subject, where the sender numbers them."""
    request_id = models.CharField(_("request id"), max_length=100, blank=True, default="")
    changed_by = models.CharField(_("changed by"), max_length=200, blank=True, default="")
    changed_by_id = models.BigIntegerField(_("changed by (id)"), null=True)
    dedupe_key = models.CharField(_("deduplication key"), max_length=200, null=True)  # noqa: DJ001 – most have none
    created_at = models.DateTimeField(_("created at"), db_default=Now())

    objects = OutboxMessageQuerySet.as_manager()

    class Meta:
        verbose_name = _("outbox message")
        verbose_name_plural = _("outbox messages")
        # `change_outboxmessage` includes them.
        permissions = (
            ("replay_outboxmessage", "Can replay dead letters"),
            ("discard_outboxmessage", "Can discard dead letters"),
            ("cancel_outboxmessage", "Can cancel messages"),
        )
        indexes = (
            models.Index(fields=("due_at", "id"), condition=Q(state__in=AWAITING), name="outbox_awaiting"),
            models.Index(fields=("queue", "published_at"), condition=Q(state=State.PUBLISHED), name="outbox_published"),
            models.Index(fields=("died_at",), condition=Q(state=State.DEAD), name="outbox_dead"),
            models.Index(fields=("subject",), condition=~Q(subject=""), name="outbox_subject"),
            models.Index(fields=("queue", "due_at"), condition=Q(starts__gte=2), name="outbox_suspects"),
        )
        constraints = (
            # Partial: rows without a key would be indexed too, three times each (when inserted, claimed and published).
            models.UniqueConstraint(
                fields=("dedupe_key",), condition=Q(dedupe_key__isnull=False), name="outbox_one_waits_of_a_key"
            ),
        )

    def __str__(self) -> str:
        return f"{self.actor} {self.message_id}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Operator:
    """The person who decides on messages."""

    name: str
    user_id: int | None = None


class Decision(models.TextChoices):
    """What an operator did with a dead letter, or with a message that was not published yet."""

    REPLAYED = "replayed", _("replayed")
    EDITED = "edited", _("edited and replayed")
    DISCARDED = "discarded", _("discarded")
    CANCELLED = "cancelled", _("cancelled")


# The columns of a message that the record of a decision keeps.
COPIED = ("message_id", "queue", "actor", "subject", "reason", "error", "body")


class DeadLetterDecision(models.Model):
    """Which operator replayed or discarded a dead letter, or cancelled a message, when and why; it outlives the row.

    Written by `dead_letters.decisions` and `operations.cancel`.
    """

    row_id = models.BigIntegerField(_("row"))
    """The id of an `OutboxMessage`; not a foreign key, because that row may be deleted."""
    message_id = models.CharField(_("message id"), max_length=64)
    queue = models.CharField(_("queue"), max_length=100)
    actor = models.CharField(_("actor"), max_length=100)
    subject = models.CharField(_("subject"), max_length=100, blank=True, default="")
    reason = models.CharField(_("reason"), max_length=40, blank=True, default="")
    """Why the message was dead; empty for a cancelled one."""
    error = models.TextField(_("error"), blank=True, default="")
    body = models.BinaryField(_("body"))
    """The message as it was: a discarded or cancelled one can still be read, an edited one compared."""
    edited_body = models.BinaryField(_("edited body"), null=True)
    """The message that was sent in its place, if it was edited."""
    decision = models.CharField(_("decision"), max_length=9, choices=Decision.choices)
    decided_by = models.CharField(_("decided by"), max_length=200)
    decided_by_id = models.BigIntegerField(_("decided by (id)"), null=True)
    why = models.TextField(_("why"), blank=True, default="")
    decided_at = models.DateTimeField(_("decided at"), db_default=Now())

    class Meta:
        verbose_name = _("decision on a message")
        verbose_name_plural = _("decisions on messages")
        indexes = (models.Index(fields=("row_id",), name="outbox_decision_row"),)

    def __str__(self) -> str:
        return f"{self.decision} {self.actor} {self.message_id}"


class WatchedQueue(models.Model):
    """When upkeep found a queue empty, who leads its upkeep, and whether another installation uses it too."""

    name = models.CharField(max_length=100, primary_key=True)
    seen_empty_at = models.DateTimeField(null=True)
    """When upkeep found the queue empty. A message published before is lost if it is still unsettled after the longest
    time that a message may stay in a worker (`worker.limits`)."""
    lease_token = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)
    probe_at = models.DateTimeField(null=True)
    """When a worker looks again whether it still holds another installation's messages; null if it is ours alone
    (`worker.shared_queues`)."""

    class Meta:
        verbose_name = _("watched queue")
        verbose_name_plural = _("watched queues")

    def __str__(self) -> str:
        return self.name


class Installation(models.Model):
    """This database among those whose services share a RabbitMQ: one row, written at first use (`installation`)."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    key = models.UUIDField(default=uuid4)
    """Travels with each published message. A copy of the database has the same."""

    class Meta:
        verbose_name = _("installation")
        verbose_name_plural = _("installations")

    def __str__(self) -> str:
        return str(self.key)


def clean(text: str) -> str:
    """Return a text that every database stores: without NUL or lone surrogates, cut at `MAX_TEXT_LENGTH`."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")[:MAX_TEXT_LENGTH]
