"""What a task is."""

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.db import models, router, transaction
from django.utils.translation import gettext_lazy as _

from tasks.history.changes import Changes, changes_between, tracked_fields
from tasks.history.versioning import TaskQuerySet


class Task(models.Model):
    """Something to be done, and whose it is."""

    title = models.CharField(_("title"), max_length=200)
    description = models.TextField(_("description"), blank=True, default="")
    completed = models.BooleanField(_("completed"), default=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="tasks",
        verbose_name=_("owner"),
        db_index=False,  # there are three that begin with it
    )
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)
    version = models.PositiveIntegerField(_("version"), default=1, db_default=1, editable=False)
    """How often it was changed, its creation included. Each number is an event of that number."""

    changes: Changes = {}
    """What the last `save()` of this instance changed."""

    told: "Task | None" = None
    """What the last `save()` of this instance made of the row, where that was not all of the instance."""

    deleted: "Task | None" = None
    """What is being deleted: the row, locked, as it is."""

    objects = TaskQuerySet.as_manager()

    class Meta:
        # Django's own changes of many, such as `user.tasks.add(task)`, are told of too.
        base_manager_name = "objects"
        verbose_name = _("task")
        verbose_name_plural = _("tasks")
        ordering = ("created_at", "id")
        # Every order that a list may have after every filter. Those of the search are PostgreSQL's alone, and in a
        # migration (0007).
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

    # The receivers of a task's signals send messages: a change and what tells of it are one transaction, wherever
    # the change is made. The row is locked first, so that versions are counted without gap or repeat.

    def save(
        self,
        force_insert: Any = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        """Save the task as its next version; a save that changes nothing writes nothing and tells of nothing."""
        using = using or router.db_for_write(Task, instance=self)
        with transaction.atomic(using=using):
            before = None if force_insert else TaskQuerySet(Task, using=using).locked(self.pk)
            if before is None:
                TaskQuerySet(Task, using=using).number_new([self])
            elif not self._number_change(before, update_fields):
                return
            if update_fields is not None:
                update_fields = {*update_fields, "version", "updated_at"}
            super().save(force_insert=force_insert, force_update=force_update, using=using, update_fields=update_fields)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        with transaction.atomic():
            return super().delete(*args, **kwargs)

    def _number_change(self, before: "Task", update_fields: Iterable[str] | None) -> bool:
        """Note what changes and give it its number; return False if nothing does."""
        wanted = set(tracked_fields(self)) - self.get_deferred_fields()
        if update_fields is not None:
            wanted &= {self._meta.get_field(name).name for name in update_fields}
        self._evaluate(wanted, before)
        self.changes = changes_between(before, self, wanted)
        self.version = before.version + 1 if self.changes else before.version
        self.told = self._merged_into(before, wanted)
        return bool(self.changes)

    def _merged_into(self, before: "Task", names: Iterable[str]) -> "Task":
        for attribute in (self._meta.get_field(name).attname for name in names):  # type: ignore[union-attr]
            setattr(before, attribute, getattr(self, attribute))
        before.version = self.version
        return before

    def _evaluate(self, names: Iterable[str], before: "Task") -> None:
        """Put values in the place of expressions such as `F("title")`: what they come to is what changes."""
        expressions = {
            f"value_of_{name}": getattr(self, name) for name in names if hasattr(self.__dict__.get(name), "as_sql")
        }
        if expressions:
            rows = TaskQuerySet(Task, using=before._state.db).filter(pk=before.pk)
            for name, value in rows.values(**expressions).get().items():
                setattr(self, name.removeprefix("value_of_"), value)


class IdempotencyKey(models.Model):
    """A request that was carried out, and the answer to give when it comes again. Written by `idempotency`."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    """A digest of what was asked for."""
    status = models.PositiveSmallIntegerField()
    headers = models.JSONField(default=dict)
    body = models.TextField()
    """JSON, as it was answered."""
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        verbose_name = _("idempotency key")
        verbose_name_plural = _("idempotency keys")
        constraints = (models.UniqueConstraint(fields=("user", "key"), name="idempotency_key_of_user"),)

    def __str__(self) -> str:
        return self.key
