"""The routes of tasks and of their history, mounted at the root."""

from django.db.models import BigIntegerField
from django.urls import path, register_converter
from django.urls.converters import IntConverter
from rest_framework.routers import SimpleRouter

from tasks.views import TaskHistoryView, TaskViewSet


class IdConverter(IntConverter):
    """An id that a database column can hold."""

    regex = "[0-9]{1,19}"

    def to_python(self, value: str) -> int:
        if (number := int(value)) > BigIntegerField.MAX_BIGINT:
            raise ValueError
        return number


register_converter(IdConverter, "id")

router = SimpleRouter()
router.register("tasks", TaskViewSet)

urlpatterns = [*router.urls, path("tasks/<id:task_id>/activity/", TaskHistoryView.as_view(), name="task-activity")]
