"""Lists in the admin whose cost has a bound: what an address can ask for, what is counted, what filters offer.

Guarantee: an address compares the values of fields, and none with a pattern: a regular expression of few letters can
take SQLite, or PostgreSQL, minutes. No address compares a password, by any way.
"""

from typing import Any, TypeVar

from django.contrib import admin, messages
from django.contrib.admin.utils import NotRelationField, get_fields_from_path
from django.core.exceptions import FieldDoesNotExist
from django.core.paginator import Paginator
from django.db import models
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.translation import ngettext

from actors.outbox.db.search import MAX_SEARCH_LENGTH, MAX_WORDS, words_of

COMPARISONS = {"exact", "in", "isnull", "lt", "lte", "gt", "gte"}
"""The lookups of the filters that Django's admin offers."""
SECRET = "password"  # noqa: S105 – the name of a field
MAX_COUNTED = 10_000
MAX_CHOICES = 50

Row = TypeVar("Row", bound=models.Model)


class LatestPages(Paginator[Any]):
    """Pages of the first 10,000 matching rows: counting all of them would take longer as the table grows."""

    @cached_property
    def count(self) -> int:
        assert isinstance(self.object_list, QuerySet)
        return self.object_list[:MAX_COUNTED].count()


class BoundedAdmin(admin.ModelAdmin[Row]):
    """Searches by `finds`, for at most `MAX_SEARCH_LENGTH` characters and `MAX_WORDS` words; filters by comparisons."""

    # Counts of every choice of every filter, if an address asks for them.
    show_facets = admin.ShowFacets.NEVER

    def get_search_fields(self, request: HttpRequest) -> list[str]:
        fields = map(str, super().get_search_fields(request))
        return [field if field.startswith("=") else f"{field}__finds" for field in fields]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Row], search_term: str
    ) -> tuple[QuerySet[Row], bool]:
        words = words_of(search_term[:MAX_SEARCH_LENGTH])
        if search_term and not words:
            return queryset.none(), False
        if len(words) > MAX_WORDS or len(search_term) > MAX_SEARCH_LENGTH:
            words = words[:MAX_WORDS]
            text = ngettext(
                "Only the first %(count)d word is searched for.",
                "Only the first %(count)d words are searched for.",
                len(words),
            )
            self.message_user(request, text % {"count": len(words)}, messages.WARNING)
        quoted = ('"{}"'.format(word.replace("\\", r"\\")) for word in words)  # Django splits it once more
        return super().get_search_results(request, queryset, " ".join(quoted))

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow of the lookups that Django allows those that compare a field's value."""
        path, _, kind = lookup.rpartition("__")
        try:
            fields = get_fields_from_path(self.model, path if kind in COMPARISONS else lookup)
        except (FieldDoesNotExist, NotRelationField):
            return False
        is_secret = any(field.name == SECRET for field in fields)
        return not is_secret and super().lookup_allowed(lookup, value, request)


class FewValuesFilter(admin.AllValuesFieldListFilter):
    """Offers at most `MAX_CHOICES` values of a field, those of its latest `MAX_COUNTED` rows.

    Clients of RabbitMQ may have sent any number of them, and all rows would have to be read to find all.
    """

    def __init__(
        self, field: Any, request: HttpRequest, params: Any, model: type[models.Model], *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(field, request, params, model, *args, **kwargs)
        latest = model._default_manager.order_by("-pk").values("pk")[:MAX_COUNTED]
        self.lookup_choices = self.lookup_choices.filter(pk__in=latest)[:MAX_CHOICES]
