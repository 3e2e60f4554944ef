"""Tasks in the admin."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from tasks.models import Task


@admin.register(Task)
class TaskAdmin(admin.ModelAdmin[Task]):
    list_display = ("title", "owner", "completed", "created_at", "updated_at")
    list_filter = ("completed", "created_at")
    search_fields = ("title", "description", "owner__username")
    date_hierarchy = "created_at"
    raw_id_fields = ("owner",)
    readonly_fields = ("created_at", "updated_at")

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Propose the signed-in user as a new task's owner."""
        return {"owner": request.user.pk, **super().get_changeform_initial_data(request)}
