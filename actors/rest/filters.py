"""Filters of both APIs. An invalid value is answered with 400."""

from datetime import UTC, datetime
from typing import Any

import django_filters
from django import forms
from django.core.exceptions import ValidationError
from django.db.models import BigIntegerField
from django_filters.fields import IsoDateTimeField
from drf_spectacular.utils import extend_schema_field


@extend_schema_field({"type": "integer", "minimum": 1, "maximum": BigIntegerField.MAX_BIGINT})
class IdFilter(django_filters.Filter):
    """The id of a row."""

    field_class = forms.IntegerField

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, min_value=1, max_value=BigIntegerField.MAX_BIGINT, **kwargs)


class TimeField(IsoDateTimeField):
    """A time that every database can compare with: in UTC too it is within the years 1 to 9999."""

    def to_python(self, value: Any) -> datetime | None:
        moment: datetime | None = super().to_python(value)
        try:
            return moment and moment.astimezone(UTC)
        except OverflowError:
            raise ValidationError(self.error_messages["invalid"], code="invalid") from None


class TimeFilter(django_filters.IsoDateTimeFilter):
    field_class = TimeField
