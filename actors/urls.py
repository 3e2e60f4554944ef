"""The routes of the activity log, mounted at the root."""

from django.urls import path

from actors.api.views import ActivityStreamView, ActivityView

urlpatterns = [
    path("activity/", ActivityView.as_view(), name="activity"),
    path("activity/stream/", ActivityStreamView.as_view(), name="activity-stream"),
]
