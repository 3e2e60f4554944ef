"""What a task is."""

from typing import Any

from django.conf import settings
from django.db import models, transaction
from django.utils.translation import gettext_lazy as _

from tasks.querysets import TaskQuerySet


class Task(models.Model):
    """Something to be done, and whose it is."""

    title = models.CharField(_("title"), max_length=200)
    description = models.TextField(_("description"), blank=True, default="")
    completed = models.BooleanField(_("completed"), default=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="tasks", verbose_name=_("owner")
    )
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    objects = TaskQuerySet.as_manager()

    class Meta:
        # Django's own changes of many, such as `user.tasks.add(task)`, are told of too.
        base_manager_name = "objects"
        verbose_name = _("task")
        verbose_name_plural = _("tasks")
        ordering = ("created_at", "id")
        indexes = (
            models.Index(fields=("created_at", "id"), name="task_by_age"),
            models.Index(fields=("completed", "id"), name="task_by_completion"),
        )
        constraints = (models.CheckConstraint(condition=~models.Q(title=""), name="task_title_not_blank"),)

    def __str__(self) -> str:
        return self.title

    # The receivers of a task's signals send messages: a change and what tells of it are one transaction, wherever
    # the change is made.

    def save(self, *args: Any, **kwargs: Any) -> None:
        with transaction.atomic():
            super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        with transaction.atomic():
            return super().delete(*args, **kwargs)
