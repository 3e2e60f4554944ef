"""Tasks as JSON.

What is done for every task of every list is written by hand here: DRF's own way costs ten times as much. A test holds
the two together.
"""

from collections.abc import Mapping
from functools import cache, cached_property
from typing import Any

from django.db import models
from django.utils.timezone import get_current_timezone
from rest_framework import serializers
from rest_framework.utils.serializer_helpers import BindingDict

from tasks.listing.compiled import iso_8601
from tasks.models import Task


class TextField(serializers.CharField):
    """Text and nothing else: DRF's own field would quietly store the number 5 as "5"."""

    def to_internal_value(self, data: object) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class DeclaredTaskSerializer(serializers.ModelSerializer[Task]):
    """What a task looks like, as DRF is told."""

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
        # None beside those of the fields; DRF would look through the model for them at each request.
        validators = ()


class TaskSerializer(DeclaredTaskSerializer):
    """The same, with fields that are made once a process, not once a request: they keep nothing of one."""

    @cached_property
    def fields(self) -> BindingDict:
        return _fields(partial=self.partial)

    def to_representation(self, instance: Task) -> dict[str, Any]:
        return representation_of(instance)

    def create(self, validated_data: Mapping[str, Any]) -> Task:
        return Task.objects.create(**validated_data)


def representation_of(task: Task) -> dict[str, Any]:
    """Return a task as the API shows it; its owner should have been read with it."""
    zone = get_current_timezone()
    return {
        "id": task.pk,
        "title": task.title,
        "description": task.description,
        "completed": task.completed,
        "owner": task.owner.get_username(),
        "owner_id": task.owner_id,
        "version": task.version,
        "created_at": iso_8601(task.created_at.astimezone(zone)),
        "updated_at": iso_8601(task.updated_at.astimezone(zone)),
    }


@cache
def _fields(*, partial: bool) -> BindingDict:
    # Fields ask the serializer that they are bound to whether it is a partial one.
    return DeclaredTaskSerializer(partial=partial).fields
