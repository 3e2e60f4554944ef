"""Tasks as JSON."""

from django.db import models
from rest_framework import serializers

from tasks.models import Task


class TextField(serializers.CharField):
    """Text and nothing else: DRF's own field would quietly store the number 5 as "5"."""

    def to_internal_value(self, data: object) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class TaskSerializer(serializers.ModelSerializer[Task]):
    serializer_field_mapping = serializers.ModelSerializer.serializer_field_mapping | {
        models.CharField: TextField,
        models.TextField: TextField,
    }

    owner = serializers.CharField(source="owner.username", read_only=True)
    owner_id = serializers.IntegerField(read_only=True)

    class Meta:
        model = Task
        fields = ("id", "title", "description", "completed", "owner", "owner_id", "version", "created_at", "updated_at")
        read_only_fields = ("version", "created_at", "updated_at")
