"""The activity log in the admin, read-only and searchable. Events contain users' texts, which are shown as text.

django_dramatiq's own model is unregistered: no middleware here fills its table, and it is called "task" like ours.
"""

import json

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import truncatechars
from django.utils.translation import gettext_lazy as _
from django_dramatiq.models import Task as DramatiqTask

from actors.models import Activity
from actors.outbox.admin.read_only import ReadOnlyAdmin, preformatted

admin.site.unregister(DramatiqTask)


@admin.register(Activity)
class ActivityAdmin(ReadOnlyAdmin[Activity]):
    list_display = ("occurred_at", "event", "task_id", "version", "short_title", "owner", "changed_by")
    list_filter = ("event", "occurred_at")
    search_fields = ("title", "owner", "changed_by", "=task_id", "=request_id")
    ordering = ("-id",)
    fields = (
        *("event", "task_id", "version", "title", "owner", "owner_id", "changed_by", "changed_by_id", "what_changed"),
        *("request_id", "message_id", "occurred_at", "published_at", "logged_at", "attempts"),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Activity]:
        return super().get_queryset(request).defer("changes")  # they may be long, and no list shows them

    @admin.display(description=_("title"))
    def short_title(self, activity: Activity) -> str:
        return truncatechars(activity.title, 80)

    @admin.display(description=_("changes"))
    def what_changed(self, activity: Activity) -> str:
        return preformatted(json.dumps(activity.changes, indent=2, ensure_ascii=False))
