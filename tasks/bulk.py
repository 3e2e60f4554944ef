"""Many tasks in one request: all of them or none."""

from typing import Any

from django.utils.translation import gettext as _
from rest_framework.exceptions import ValidationError
from rest_framework.serializers import BaseSerializer

MAX_TASKS = 500


def validated(data: Any, serializer: BaseSerializer[Any]) -> list[dict[str, Any]]:
    """Return the valid values of each task to create.

    Raises:
        ValidationError: its detail has the errors of each invalid task, by its index in the list.
    """
    if not isinstance(data, list):
        raise ValidationError({"detail": _("Send a list of tasks.")})
    if not 0 < len(data) <= MAX_TASKS:
        message = _("Send 1 to %(most)d tasks at a time, not %(count)d.") % {"most": MAX_TASKS, "count": len(data)}
        raise ValidationError({"detail": message})
    if not serializer.is_valid():
        by_index: Any = serializer.errors
        raise ValidationError({str(index): errors for index, errors in by_index.items()})
    values: list[dict[str, Any]] = serializer.validated_data
    return values
