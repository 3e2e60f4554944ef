"""The routes of tasks and of their history, mounted at the root."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from tasks.views import TaskHistoryView, TaskViewSet

router = SimpleRouter()
router.register("tasks", TaskViewSet)

urlpatterns = [*router.urls, path("tasks/<int:task_id>/activity/", TaskHistoryView.as_view(), name="task-activity")]
