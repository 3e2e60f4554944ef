"""Filters of the activity lists. An invalid value is answered with 400."""

import django_filters
from django.utils.translation import gettext_lazy as _

from actors.activity import EVENT_OF_ACTOR
from actors.models import SYSTEM, Activity, Event
from actors.outbox.models import OutboxMessageQuerySet
from actors.rest.filters import IdFilter, TimeFilter


class ActivityFilter(django_filters.FilterSet):
    """Filters logged events."""

    task = IdFilter(field_name="task_id", label=_("task (id)"))
    event = django_filters.ChoiceFilter(choices=Event.choices, label=_("event"))
    changed_by = django_filters.CharFilter(label=_("changed by (username, or system)"))
    since = TimeFilter("occurred_at", "gte", label=_("at this time or later (ISO 8601)"))
    until = TimeFilter("occurred_at", "lt", label=_("before this time (ISO 8601)"))

    class Meta:
        model = Activity
        fields = ("task", "event", "changed_by", "since", "until")


class TaskActivityFilter(ActivityFilter):
    """Filters one task's events, including those that are not logged yet."""

    task: None = None  # type: ignore[assignment]  # django_filters' way to remove an inherited filter

    class Meta:
        model = Activity
        fields = ("event", "changed_by", "since", "until")

    def filter_owed(self, rows: OutboxMessageQuerySet) -> OutboxMessageQuerySet:
        """Return the messages whose events match the filter; call `is_valid()` first."""
        wanted = self.form.cleaned_data
        if wanted["event"]:
            rows = rows.filter(actor__in=[name for name, event in EVENT_OF_ACTOR.items() if event == wanted["event"]])
        if wanted["changed_by"]:
            # The outbox stores no name for changes by the system; a user may be called "system" too.
            names = ("", SYSTEM) if wanted["changed_by"] == SYSTEM else (wanted["changed_by"],)
            rows = rows.filter(changed_by__in=names)
        if wanted["since"]:
            rows = rows.filter(created_at__gte=wanted["since"])
        return rows.filter(created_at__lt=wanted["until"]) if wanted["until"] else rows
