"""Tasks as a request for many names them."""

from django.db.models import BigIntegerField
from django.utils.translation import gettext_lazy
from rest_framework import serializers

from actors.rest.known import KnownFields
from tasks.conditional import PATTERN
from tasks.models import Task
from tasks.serializers import DeclaredTaskSerializer


class IdField(serializers.IntegerField):
    """Accepts integers only: DRF's own field would take 5.0 and "5" for 5."""

    def to_internal_value(self, data: object) -> int:
        if type(data) is not int:  # a bool is an int, too
            self.fail("invalid")
        return super().to_internal_value(data)


class TaskReferenceSerializer(KnownFields, serializers.Serializer[Task]):
    """Names a task, and the state that it has to be in."""

    id = IdField(min_value=1, max_value=BigIntegerField.MAX_BIGINT)
    if_match = serializers.RegexField(
        PATTERN,
        required=False,
        error_messages={"invalid": gettext_lazy("Send ETags as they came, in quotes, or *.")},
    )


class TaskChangeSerializer(TaskReferenceSerializer, DeclaredTaskSerializer):
    """Names a task, the state that it has to be in, and the fields to change."""

    class Meta:
        model = Task
        fields = (*DeclaredTaskSerializer.Meta.fields, "if_match")
        read_only_fields = DeclaredTaskSerializer.Meta.read_only_fields
        extra_kwargs = {"title": {"required": False}}
