"""The activity log: what happened to tasks. Plain ids and names, because it outlives the task and its user."""

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class Event(models.TextChoices):
    TASK_CREATED = "task.created", _("task created")


class Activity(models.Model):
    """One event, logged exactly once: by the message that told of it."""

    message_id = models.CharField(_("message id"), max_length=64, unique=True, null=True)  # noqa: DJ001 – many may have none, and all others differ
    """Null where no message told of it: an actor called as a function."""
    event = models.CharField(_("event"), max_length=20, choices=Event.choices)
    task_id = models.BigIntegerField(_("task id"))
    title = models.CharField(_("title"), max_length=200)
    owner = models.CharField(_("owner"), max_length=150)
    logged_at = models.DateTimeField(_("logged at"), db_default=Now())

    class Meta:
        verbose_name = _("activity")
        verbose_name_plural = _("activities")
        indexes = (models.Index(fields=("task_id", "id"), name="activity_of_task"),)

    def __str__(self) -> str:
        return f"{self.event} {self.task_id}"
