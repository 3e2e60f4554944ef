"""Which events a list shows. A value that means nothing is a 400."""

from typing import Any

import django_filters
from django import forms
from django.utils.translation import gettext_lazy as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field

from actors.activity import EVENT_OF_ACTOR
from actors.models import SYSTEM, Activity, Event
from actors.outbox.models import OutboxMessages

LARGEST_ID = 2**63 - 1


@extend_schema_field(OpenApiTypes.INT)
class IdFilter(django_filters.Filter):
    """The id of a row."""

    field_class = forms.IntegerField

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, min_value=1, max_value=LARGEST_ID, **kwargs)


class ActivityFilter(django_filters.FilterSet):
    """Of events that are logged."""

    task = IdFilter(field_name="task_id", label=_("task (id)"))
    event = django_filters.ChoiceFilter(choices=Event.choices, label=_("event"))
    changed_by = django_filters.CharFilter(label=_("changed by (username, or system)"))
    since = django_filters.IsoDateTimeFilter("occurred_at", "gte", label=_("at this time or later (ISO 8601)"))
    until = django_filters.IsoDateTimeFilter("occurred_at", "lt", label=_("before this time (ISO 8601)"))

    class Meta:
        model = Activity
        fields = ("task", "event", "changed_by", "since", "until")


class TaskActivityFilter(ActivityFilter):
    """Of one task's events, those among them that are still on their way."""

    task: None = None  # type: ignore[assignment]  # as django_filters takes a filter out

    class Meta:
        model = Activity
        fields = ("event", "changed_by", "since", "until")

    def filter_owed(self, rows: OutboxMessages) -> OutboxMessages:
        """Return the messages of events that the filter leaves."""
        wanted = self.form.cleaned_data
        if wanted["event"]:
            rows = rows.filter(actor__in=[name for name, event in EVENT_OF_ACTOR.items() if event == wanted["event"]])
        if wanted["changed_by"]:
            rows = rows.filter(changed_by="" if wanted["changed_by"] == SYSTEM else wanted["changed_by"])
        if wanted["since"]:
            rows = rows.filter(created_at__gte=wanted["since"])
        return rows.filter(created_at__lt=wanted["until"]) if wanted["until"] else rows
