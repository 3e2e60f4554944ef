"""Tasks, and the idempotency keys of requests that wrote some."""

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from tasks.history.versioning import VersionedModel, VersionedQuerySet


class TaskQuerySet(VersionedQuerySet["Task"]):
    """Tasks; a bulk change is versioned like a change of one task."""


class Task(VersionedModel):
    """Something to be done, and its owner."""

    title = models.CharField(_("title"), max_length=200)
    description = models.TextField(_("description"), blank=True, default="")
    completed = models.BooleanField(_("completed"), default=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.DO_NOTHING,  # `signals` deletes the tasks: Django would load all of them
        related_name="tasks",
        verbose_name=_("owner"),
        db_index=False,  # three of the indexes below begin with it
    )
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)
    version = models.PositiveIntegerField(_("version"), default=1, db_default=1, editable=False)
    objects = TaskQuerySet.as_manager()

    class Meta:
        # With it Django's own bulk changes, such as `user.tasks.add(task)`, are versioned and send signals too.
        base_manager_name = "objects"
        verbose_name = _("task")
        verbose_name_plural = _("tasks")
        ordering = ("created_at", "id")
        # One for each order of a list under each filter. Migration 0010 adds the search's, on PostgreSQL only.
        indexes = (
            models.Index(fields=("created_at", "id"), name="task_by_age"),
            models.Index(fields=("completed", "id"), name="task_by_completion"),
            models.Index(fields=("completed", "created_at", "id"), name="task_by_completion_and_age"),
            models.Index(fields=("owner", "created_at", "id"), name="task_of_owner_by_age"),
            models.Index(fields=("owner", "completed", "id"), name="task_of_owner_by_completion"),
            models.Index(fields=("owner", "completed", "created_at", "id"), name="task_of_owner_by_both"),
        )
        constraints = (models.CheckConstraint(condition=~models.Q(title=""), name="task_title_not_blank"),)

    def __str__(self) -> str:
        return self.title


class IdempotencyKey(models.Model):
    """A request that was executed, and the response to replay when it is repeated. Written by `idempotency`."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    """A digest of the request."""
    status = models.PositiveSmallIntegerField()
    headers = models.JSONField(default=dict)
    body = models.TextField()
    """The response's JSON; empty if it has no body."""
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        verbose_name = _("idempotency key")
        verbose_name_plural = _("idempotency keys")
        constraints = (models.UniqueConstraint(fields=("user", "key"), name="idempotency_key_of_user"),)

    def __str__(self) -> str:
        return self.key
