"""Tasks in the admin."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from actors.outbox.admin.bounded import BoundedAdmin
from tasks.listing.count_ledger import CountingPaginator
from tasks.models import Task


@admin.register(Task)
class TaskAdmin(BoundedAdmin[Task]):
    list_display = ("title", "owner", "completed", "created_at", "updated_at")
    list_filter = ("completed", "created_at")
    search_fields = ("title", "description", "owner__username")
    raw_id_fields = ("owner",)
    readonly_fields = ("created_at", "updated_at")
    # The count comes from the ledger; the unfiltered count beside a filtered list is not shown, and costs no query.
    paginator = CountingPaginator
    show_full_result_count = False

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Propose the signed-in user as a new task's owner."""
        return {"owner": request.user.pk, **super().get_changeform_initial_data(request)}
