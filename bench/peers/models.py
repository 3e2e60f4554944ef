"""The lesson's task and, for the worker that is to do the same as ours, a row for each event.

The row has the columns of our activity log; `bench.ground` compares them, and copies the indexes.
"""

from django.conf import settings
from django.db import models
from django.db.models.functions import Now


class Task(models.Model):
    objects: models.Manager["Task"]
    title = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    completed = models.BooleanField(default=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="tasks")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.title


class CurrentTransaction(models.Func):
    output_field = models.BigIntegerField()
    template = "pg_current_xact_id()::text::bigint"
    allowed_default = True
    arity = 0


class Activity(models.Model):
    objects: models.Manager["Activity"]
    message_id = models.CharField(max_length=64, null=True)  # noqa: DJ001 – as in ours
    event = models.CharField(max_length=20)
    task_id = models.BigIntegerField()
    version = models.PositiveIntegerField(default=1, db_default=1)
    title = models.CharField(max_length=200)
    owner = models.CharField(max_length=150)
    owner_id = models.BigIntegerField(null=True)
    changed_by = models.CharField(max_length=200, default="system", db_default="system")
    changed_by_id = models.BigIntegerField(null=True)
    changes = models.JSONField(default=dict, db_default={})
    request_id = models.CharField(max_length=100, blank=True, default="", db_default="")
    occurred_at = models.DateTimeField(db_default=Now())
    published_at = models.DateTimeField(null=True)
    logged_at = models.DateTimeField(db_default=Now())
    attempts = models.PositiveIntegerField(default=1, db_default=1)
    transaction = models.BigIntegerField(db_default=CurrentTransaction(), editable=False)

    def __str__(self) -> str:
        return f"{self.event} {self.task_id}"
