"""The activity log: what happened to tasks. Plain ids and names, because it outlives the task and its user.

Guarantee: each version of a task is logged at most once, and the log is append-only: rows are never changed, and only
`retention` deletes them. Written by `activity`, read by `timeline` and `api`.
"""

from collections.abc import Iterable
from typing import Any, NoReturn

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from actors.commit_order import TransactionNumber
from actors.django_internals import RefusingQuerySet

SYSTEM = "system"
"""`changed_by` of a change that no user's request made."""


class AppendOnly(TypeError):
    """Raised at an attempt to change or delete a row of the activity log."""

    def __init__(self) -> None:
        super().__init__("The activity log is append-only: its rows are neither changed nor deleted.")


class Event(models.TextChoices):
    TASK_CREATED = "task.created", _("task created")
    TASK_UPDATED = "task.updated", _("task updated")
    TASK_DELETED = "task.deleted", _("task deleted")


class ActivityQuerySet(RefusingQuerySet["Activity"]):
    """Allows only insertions."""

    def update(self, **values: Any) -> NoReturn:
        raise AppendOnly

    def delete(self) -> NoReturn:
        raise AppendOnly

    def bulk_create(self, objs: Iterable["Activity"], *args: Any, **options: Any) -> list["Activity"]:
        # Django's positional order is batch_size, ignore_conflicts, update_conflicts.
        if options.get("update_conflicts") or any(args[2:3]):
            raise AppendOnly
        return super().bulk_create(objs, *args, **options)


class Activity(models.Model):
    """One event, logged exactly once, by the message about it."""

    message_id = models.CharField(_("message id"), max_length=64, null=True)  # noqa: DJ001 – many may have none, and all others differ
    """Null if the actor was called as a function, without a message."""
    event = models.CharField(_("event"), max_length=20, choices=Event.choices)
    task_id = models.BigIntegerField(_("task id"))
    version = models.PositiveIntegerField(_("version"), default=1, db_default=1)
    """The task's version that the event made: 1 is its creation; there are no gaps."""
    title = models.CharField(_("title"), max_length=200)
    owner = models.CharField(_("owner"), max_length=150)
    owner_id = models.BigIntegerField(_("owner (id)"), null=True)
    changed_by = models.CharField(_("changed by"), max_length=200, default=SYSTEM, db_default=SYSTEM)
    changed_by_id = models.BigIntegerField(_("changed by (id)"), null=True)
    changes = models.JSONField(_("changes"), default=dict, db_default={}, encoder=DjangoJSONEncoder)
    """`{field: [old, new]}`, with null before a creation and after a deletion; long texts whole."""
    request_id = models.CharField(_("request id"), max_length=100, blank=True, default="", db_default="")

    occurred_at = models.DateTimeField(_("occurred at"), db_default=Now())
    """When the change was written, in its own transaction. This and the times below are of the database's clock."""
    published_at = models.DateTimeField(_("published at"), null=True)
    """When RabbitMQ confirmed the message; if the worker was faster than the row's update, when a relay claimed it."""
    logged_at = models.DateTimeField(_("logged at"), db_default=Now())
    attempts = models.PositiveIntegerField(_("attempts"), default=1, db_default=1)

    transaction = models.BigIntegerField(_("transaction"), db_default=TransactionNumber(), editable=False)
    """The number of the transaction that wrote the row, and an offset, for reading in commit order (`commit_order`)."""

    state: str | None = None
    """The state of the message of an event that is not logged yet, an unsaved instance from `timeline`; else None."""

    objects = ActivityQuerySet.as_manager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("activity")
        verbose_name_plural = _("activities")
        constraints = (
            models.UniqueConstraint(fields=("task_id", "version"), name="activity_once_a_version"),
            models.UniqueConstraint(fields=("message_id",), name="activity_once_a_message"),
        )
        indexes = (
            models.Index(fields=("transaction", "id"), name="activity_in_commit_order"),
            models.Index(fields=("changed_by", "id"), name="activity_by_whom"),
            models.Index(fields=("event", "id"), name="activity_by_event"),
            # For lists that are filtered by time, whose pages are in the order of time.
            models.Index(fields=("occurred_at", "id"), name="activity_by_time"),
            models.Index(fields=("changed_by", "occurred_at", "id"), name="activity_by_whom_and_time"),
            models.Index(fields=("event", "occurred_at", "id"), name="activity_by_event_and_time"),
        )

    def __str__(self) -> str:
        return f"{self.event} {self.task_id} v{self.version}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert the row.

        Raises:
            AppendOnly: the row is in the log already.
        """
        if not self._state.adding:
            raise AppendOnly
        kwargs["force_insert"] = True
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AppendOnly


class ActivityHorizon(models.Model):
    """The time up to which the log was pruned: earlier events may be missing, on purpose. One row for each pruning."""

    before = models.DateTimeField(_("before"))
    pruned_at = models.DateTimeField(_("pruned at"), db_default=Now())
    deleted = models.PositiveBigIntegerField(_("deleted"))
    """How many rows the pruning deleted."""

    class Meta:
        verbose_name = _("pruning of the activity log")
        verbose_name_plural = _("prunings of the activity log")

    def __str__(self) -> str:
        return f"{self.before:%Y-%m-%d %H:%M}"
