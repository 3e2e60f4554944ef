"""The activity log: what happened to tasks. Plain ids and names, because it outlives the task and its user.

Guarantee: each version of a task is logged once, and what is logged stays as it is: rows are neither changed nor
deleted, but by `retention`. Written by `activity`, read by `history` and `stream`.
"""

from collections.abc import Collection, Iterable
from typing import Any, NoReturn

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from actors.commit_order import CurrentTransaction

SYSTEM = "system"
"""Who changed what nobody's request did."""


class AppendOnly(TypeError):
    """Raised when a row of the activity log is to be changed or deleted."""

    def __init__(self) -> None:
        super().__init__("The activity log is append-only: its rows are neither changed nor deleted.")


class Event(models.TextChoices):
    TASK_CREATED = "task.created", _("task created")
    TASK_UPDATED = "task.updated", _("task updated")
    TASK_DELETED = "task.deleted", _("task deleted")


class ActivityQuerySet(models.QuerySet["Activity"]):
    """Rows that are only ever added."""

    def update(self, **values: Any) -> NoReturn:
        raise AppendOnly

    def delete(self) -> NoReturn:
        raise AppendOnly

    def bulk_create(  # noqa: PLR0913, PLR0917 – Django's signature
        self,
        objs: Iterable["Activity"],
        batch_size: int | None = None,
        ignore_conflicts: bool = False,
        update_conflicts: bool = False,
        update_fields: Collection[str] | None = None,
        unique_fields: Collection[str] | None = None,
    ) -> list["Activity"]:
        if update_conflicts:
            raise AppendOnly
        return super().bulk_create(objs, batch_size, ignore_conflicts)

    def _raw_delete(self, using: str | None) -> NoReturn:
        raise AppendOnly


class Activity(models.Model):
    """One event, logged exactly once: by the message that told of it."""

    message_id = models.CharField(_("message id"), max_length=64, null=True)  # noqa: DJ001 – many may have none, and all others differ
    """Null where no message told of it: an actor called as a function."""
    event = models.CharField(_("event"), max_length=20, choices=Event.choices)
    task_id = models.BigIntegerField(_("task id"))
    version = models.PositiveIntegerField(_("version"), default=1, db_default=1)
    """Of the task, from this event on: 1 is its creation, and none is left out."""
    title = models.CharField(_("title"), max_length=200)
    owner = models.CharField(_("owner"), max_length=150)
    owner_id = models.BigIntegerField(_("owner (id)"), null=True)
    changed_by = models.CharField(_("changed by"), max_length=200, default=SYSTEM, db_default=SYSTEM)
    changed_by_id = models.BigIntegerField(_("changed by (id)"), null=True)
    changes = models.JSONField(_("changes"), default=dict, db_default={}, encoder=DjangoJSONEncoder)
    """`{field: [old, new]}`, with null before a creation and after a deletion; long texts whole."""
    request_id = models.CharField(_("request id"), max_length=100, blank=True, default="", db_default="")

    occurred_at = models.DateTimeField(_("occurred at"), db_default=Now())
    """When the change was written, in its own transaction. This and the next are times of the database's clock."""
    published_at = models.DateTimeField(_("published at"), null=True)
    """When RabbitMQ had confirmed the message; where a worker was faster than that stamp, when a relay took it up."""
    logged_at = models.DateTimeField(_("logged at"), db_default=Now())
    attempts = models.PositiveIntegerField(_("attempts"), default=1, db_default=1)

    transaction = models.BigIntegerField(_("transaction"), db_default=CurrentTransaction(), editable=False)
    """In which rows become visible: see `commit_order`."""

    state: str | None = None
    """Where its message is, as long as no worker has logged it: such a one is no row yet (`history`)."""

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
            # Where some time is asked for, pages are in its order.
            models.Index(fields=("occurred_at", "id"), name="activity_by_time"),
            models.Index(fields=("changed_by", "occurred_at", "id"), name="activity_by_whom_and_time"),
            models.Index(fields=("event", "occurred_at", "id"), name="activity_by_event_and_time"),
        )

    def __str__(self) -> str:
        return f"{self.event} {self.task_id} v{self.version}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Add the row.

        Raises:
            AppendOnly: it is in the log already.
        """
        if not self._state.adding:
            raise AppendOnly
        kwargs["force_insert"] = True
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AppendOnly


class ActivityHorizon(models.Model):
    """Until when the log was pruned, on purpose: what happened before may be missing. One row for each pruning."""

    before = models.DateTimeField(_("before"))
    pruned_at = models.DateTimeField(_("pruned at"), db_default=Now())
    deleted = models.PositiveBigIntegerField(_("deleted"))
    """How many rows."""

    class Meta:
        verbose_name = _("pruning of the activity log")
        verbose_name_plural = _("prunings of the activity log")

    def __str__(self) -> str:
        return f"{self.before:%Y-%m-%d %H:%M}"
