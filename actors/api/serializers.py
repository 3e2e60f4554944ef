"""Serializes events."""

from typing import Literal

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from actors.models import Activity
from actors.outbox.models import State


@extend_schema_field({"type": "object", "additionalProperties": {"type": "array", "items": {}}})
class ChangesField(serializers.ReadOnlyField):
    """Shows a logged value of any form: an operator may have edited the message, and the log cannot be changed."""


class ActivitySerializer(serializers.ModelSerializer[Activity]):
    """One event, with the trail of its delivery."""

    status = serializers.SerializerMethodField(help_text="Whether a worker has logged it yet.")
    state = serializers.ChoiceField(
        State.choices, read_only=True, allow_null=True, help_text="The state of its message; null once it is logged."
    )
    changes = ChangesField(help_text="`{field: [old, new]}`, with null before a creation and after a deletion.")

    class Meta:
        model = Activity
        fields = (
            *("id", "event", "task_id", "version", "title", "owner", "owner_id", "changed_by", "changed_by_id"),
            *("changes", "request_id", "message_id", "status", "state"),
            *("occurred_at", "published_at", "logged_at", "attempts"),
        )
        read_only_fields = fields
        extra_kwargs = {"id": {"allow_null": True}, "logged_at": {"allow_null": True}}

    def get_status(self, activity: Activity) -> Literal["pending", "logged"]:
        return "pending" if activity.pk is None else "logged"
