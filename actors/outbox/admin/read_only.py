"""Read-only admin pages, which show untrusted contents of rows as text."""

from collections.abc import Callable
from typing import Any, TypeVar

from django.contrib import admin
from django.contrib.admin.views.main import ERROR_FLAG
from django.db import models
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import truncatechars
from django.utils.html import format_html

from actors.outbox.admin.bounded import BoundedAdmin, LatestPages
from actors.outbox.dead_letters import payload

MAX_SHOWN = 100_000

Row = TypeVar("Row", bound=models.Model)


class ReadOnlyAdmin(BoundedAdmin[Row]):
    """Shows rows to users with the permission to view them; rows cannot be added, changed or deleted."""

    paginator = LatestPages
    list_per_page = 50
    show_full_result_count = False
    change_form_template = "admin/outbox/change_form.html"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if any("\0" in value for _name, values in request.GET.lists() for value in values):
            # Django's own filters would pass it to PostgreSQL, which refuses NUL.
            return HttpResponseRedirect(f"{request.path}?{ERROR_FLAG}=1")
        return super().changelist_view(request, extra_context)

    def has_change_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return False

    has_add_permission = has_delete_permission = has_change_permission


def text_column(field: str, description: Any) -> Callable[[Any, models.Model], str]:
    """Return a method for an admin class that shows a field as preformatted text; a message's body is formatted."""

    @admin.display(description=description)
    def show(_admin: Any, row: models.Model) -> str:
        value = getattr(row, field)
        return preformatted(value if isinstance(value, str | None) else payload.legible(bytes(value)))

    return show


def preformatted(text: str | None) -> str:
    """Return a text as preformatted, escaped HTML, cut after `MAX_SHOWN` characters; "-" if there is none."""
    if not text:
        return "-"
    shown = truncatechars(text, MAX_SHOWN)
    return format_html('<pre style="margin: 0; white-space: pre-wrap; overflow-wrap: anywhere">{}</pre>', shown)
