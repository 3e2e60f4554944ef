"""Every route of the service."""

from django.contrib import admin
from django.urls import include, path

from project import health
from project.api.root import RootView
from project.api.schema_view import DocsView, SchemaView

urlpatterns = [
    path(health.ADDRESS, include(health.urlpatterns)),
    path("", RootView.as_view(), name="root"),
    path("", include("tasks.urls")),
    path("", include("actors.urls")),
    path("api/token/", include("project.accounts.tokens.urls")),
    path("api/schema/", SchemaView.as_view(), name="schema"),
    path("api/docs/", DocsView.as_view(), name="docs"),
    path("api-auth/", include("rest_framework.urls")),
    path("admin/", admin.site.urls),
]

handler400 = "project.api.errors.bad_request"
handler404 = "project.api.errors.not_found"
handler500 = "project.api.errors.server_error"
