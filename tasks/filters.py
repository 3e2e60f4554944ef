"""Which tasks a list shows, and in what order. An invalid value is a 400, never a silently wider list."""

from collections.abc import Iterable
from typing import Any

import django_filters
from django import forms
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError as FormValidationError
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework.exceptions import ValidationError
from rest_framework.fields import CharField
from rest_framework.filters import OrderingFilter, SearchFilter
from rest_framework.request import Request
from rest_framework.views import APIView

from actors.outbox.db.search import MAX_SEARCH_LENGTH, MAX_WORDS, MIN_LENGTH, is_long_enough, words_of
from actors.rest.filters import IdFilter
from tasks.models import Task


class StrictBooleanField(forms.Field):
    """`true` or `false`, in any case, or `1` or `0`."""

    widget = forms.Select(choices=[("", "---------"), ("true", gettext_lazy("Yes")), ("false", gettext_lazy("No"))])
    values = {"true": True, "1": True, "false": False, "0": False}

    def to_python(self, value: Any) -> bool | None:
        if value in self.empty_values:
            return None
        try:
            return self.values[value.lower()]
        except KeyError:
            raise FormValidationError(_("Enter true or false.")) from None


@extend_schema_field(OpenApiTypes.BOOL)
class StrictBooleanFilter(django_filters.Filter):
    field_class = StrictBooleanField


class UsernameFilter(django_filters.CharFilter):
    """Filters by the owner's username. A subquery finds the id, because the indexes of tasks by owner contain ids."""

    def filter(self, tasks: QuerySet[Task], value: str | None) -> QuerySet[Task]:
        owner = get_user_model()._default_manager.filter(username=value).values("pk")[:1]
        return tasks.filter(owner=owner) if value else tasks


class TaskFilter(django_filters.FilterSet):
    completed = StrictBooleanFilter(label=gettext_lazy("completed"))
    owner = IdFilter(label=gettext_lazy("owner (id)"))
    owner_username = UsernameFilter(label=gettext_lazy("owner (username)"))

    class Meta:
        model = Task
        fields = ("completed", "owner", "owner_username")


class FilterBackend(DjangoFilterBackend):
    """django-filter's backend, skipped for requests without filters: it would build a form even for those."""

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: Any) -> QuerySet[Any]:
        asked = request.query_params.keys() & view.filterset_class.base_filters.keys()
        return super().filter_queryset(request, queryset, view) if asked else queryset


class BoundedSearchFilter(SearchFilter):
    """Refuses a search that would cost too much: of many characters or words, or of short words alone."""

    def get_search_terms(self, request: Request) -> list[str]:
        text = request.query_params.get(self.search_param, "")
        if not text:
            return []
        try:
            words = words_of(CharField(max_length=MAX_SEARCH_LENGTH, allow_blank=True).run_validation(text))
        except ValidationError as error:
            raise ValidationError({self.search_param: error.detail}) from None
        if not words:
            raise ValidationError({self.search_param: [_("Enter a word: quotation marks and commas are none.")]})
        if len(words) > MAX_WORDS:
            message = _("Enter at most %(most)d different words; a phrase in quotation marks is one.")
            raise ValidationError({self.search_param: [message % {"most": MAX_WORDS}]})
        if not is_long_enough(words):
            message = _("Enter a word of at least %(least)d letters or digits; shorter ones may stand beside it.")
            raise ValidationError({self.search_param: [message % {"least": MIN_LENGTH}]})
        return words


class StableOrderingFilter(OrderingFilter):
    """Orders by the requested fields and then by id: each task is on exactly one page."""

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        [ordering] = super().get_schema_operation_parameters(view)
        field = f"-?({'|'.join(view.ordering_fields)})"
        return [ordering | {"schema": {"type": "string", "pattern": f"^{field}(,{field})*$"}}]

    def get_ordering(self, request: Request, queryset: QuerySet[Any], view: APIView) -> tuple[str, ...]:
        ordering = super().get_ordering(request, queryset, view) or ()
        id_field = "-id" if ordering and ordering[0].startswith("-") else "id"
        return (*ordering, id_field)

    def remove_invalid_fields(
        self, queryset: QuerySet[Any], fields: Iterable[str], view: APIView, request: Request
    ) -> list[str]:
        wanted = list(fields)
        valid = super().remove_invalid_fields(queryset, wanted, view, request)
        if unknown := [field for field in wanted if field and field not in valid]:
            allowed = ", ".join(name for name, _label in self.get_valid_fields(queryset, view, {"request": request}))
            raise ValidationError(
                {
                    self.ordering_param: [
                        _("Cannot order by %(unknown)s; choose from: %(allowed)s.")
                        % {"unknown": ", ".join(unknown), "allowed": allowed}
                    ]
                }
            )
        return valid
