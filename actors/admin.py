"""The activity log in the admin, to be read and searched.

django_dramatiq's table of messages is taken out: nothing fills it here, so it would show nothing, and its name is that
of our tasks.
"""

from django.contrib import admin
from django.template.defaultfilters import truncatechars
from django.utils.translation import gettext_lazy as _
from django_dramatiq.models import Task as DramatiqTask

from actors.models import Activity
from actors.outbox.admin import ReadOnlyAdmin

admin.site.unregister(DramatiqTask)


@admin.register(Activity)
class ActivityAdmin(ReadOnlyAdmin[Activity]):
    list_display = ("logged_at", "event", "task_id", "owner", "short_title")
    list_filter = ("event", "logged_at")
    search_fields = ("title", "owner", "=task_id")
    ordering = ("-id",)

    @admin.display(description=_("title"))
    def short_title(self, activity: Activity) -> str:
        return truncatechars(activity.title, 80)
