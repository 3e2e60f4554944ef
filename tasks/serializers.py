"""Tasks as JSON.

A task's representation is written by hand, because DRF's own serialization costs ten times as much. A test compares
the two.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import cache, cached_property
from typing import Any

from django.db import models
from django.utils.timezone import get_current_timezone
from rest_framework import serializers
from rest_framework.utils.serializer_helpers import BindingDict

from actors.rest.known import KnownFields
from tasks.models import Task


class TextField(serializers.CharField):
    """Accepts strings only: DRF's own field would silently store the number 5 as "5"."""

    def to_internal_value(self, data: object) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class TruthField(serializers.BooleanField):
    """Accepts true and false only: DRF's own field would take 0, "yes" and "off", which stand for them in forms."""

    def to_internal_value(self, data: object) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class DeclaredTaskSerializer(serializers.ModelSerializer[Task]):
    """A task: something to be done, and its owner."""

    serializer_field_mapping = serializers.ModelSerializer.serializer_field_mapping | {
        models.BooleanField: TruthField,
        models.CharField: TextField,
        models.TextField: TextField,
    }

    owner = serializers.CharField(source="owner.username", read_only=True)
    owner_id = serializers.IntegerField(read_only=True)

    class Meta:
        model = Task
        fields = ("id", "title", "description", "completed", "owner", "owner_id", "version", "created_at", "updated_at")
        read_only_fields = ("version", "created_at", "updated_at")
        # The fields have their validators. Without this line DRF would search the model for more at each request.
        validators = ()


class TaskSerializer(KnownFields, DeclaredTaskSerializer):
    """A task: something to be done, and its owner."""

    @cached_property
    def fields(self) -> BindingDict:
        return _fields(partial=self.partial)

    def to_representation(self, instance: Task) -> dict[str, Any]:
        """Return a task as the API shows it; read its owner with it (`select_related`), to save a query."""
        zone = get_current_timezone()
        return {
            "id": instance.pk,
            "title": instance.title,
            "description": instance.description,
            "completed": instance.completed,
            "owner": instance.owner.get_username(),
            "owner_id": instance.owner_id,
            "version": instance.version,
            "created_at": iso_8601(instance.created_at.astimezone(zone)),
            "updated_at": iso_8601(instance.updated_at.astimezone(zone)),
        }

    def create(self, validated_data: Mapping[str, Any]) -> Task:
        return Task.objects.create(**validated_data)


def iso_8601(moment: datetime) -> str:
    """Return a time as DRF writes it: ISO 8601, UTC as Z."""
    text = moment.isoformat()
    return f"{text[:-6]}Z" if text.endswith("+00:00") else text


@cache
def _fields(*, partial: bool) -> BindingDict:
    # Built once a process: they keep no state of a request. Two sets: a field reads `partial` from its serializer.
    return DeclaredTaskSerializer(partial=partial).fields
