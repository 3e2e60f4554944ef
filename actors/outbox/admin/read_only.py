"""Read-only admin pages, which show untrusted contents of rows as text."""

from collections.abc import Callable
from typing import Any, TypeVar

from django.contrib import admin
from django.contrib.admin.views.main import ERROR_FLAG
from django.db import models
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import truncatechars
from django.utils.html import format_html

from actors.outbox.db.search import MAX_SEARCH_LENGTH, MAX_WORDS, words_of
from actors.outbox.dead_letters import payload

MAX_SHOWN = 100_000
MAX_CHOICES = 50

Row = TypeVar("Row", bound=models.Model)


class BoundedSearchAdmin(admin.ModelAdmin[Row]):
    """Searches by `finds`, for at most `MAX_SEARCH_LENGTH` characters and `MAX_WORDS` words."""

    def get_search_fields(self, request: HttpRequest) -> list[str]:
        fields = map(str, super().get_search_fields(request))
        return [field if field.startswith("=") else f"{field}__finds" for field in fields]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Row], search_term: str
    ) -> tuple[QuerySet[Row], bool]:
        words = words_of(search_term[:MAX_SEARCH_LENGTH])[:MAX_WORDS]
        if search_term and not words:
            return queryset.none(), False
        quoted = ('"{}"'.format(word.replace("\\", r"\\")) for word in words)  # Django splits it once more
        return super().get_search_results(request, queryset, " ".join(quoted))


class ReadOnlyAdmin(BoundedSearchAdmin[Row]):
    """Shows rows to users with the permission to view them; rows cannot be added, changed or deleted."""

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


class FewValuesFilter(admin.AllValuesFieldListFilter):
    """Offers at most `MAX_CHOICES` of a field's values: clients of RabbitMQ may have sent any number of them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lookup_choices = self.lookup_choices[:MAX_CHOICES]


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
