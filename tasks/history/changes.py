"""The difference between two states of a task, as plain values that outlive the task.

Bookkeeping fields are not compared: the version, which counts changes, and the time of the last one.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db import models

Changes = dict[str, list[Any]]
"""`{field: [old, new]}`; an owner is given by name (`owner`) and by id (`owner_id`)."""

BOOKKEEPING = ("id", "version", "updated_at")


def tracked_fields(task: models.Model) -> list[str]:
    """Return the names of the fields whose changes are events."""
    return [field.name for field in task._meta.concrete_fields if field.name not in BOOKKEEPING]


def changes_between(before: models.Model, after: models.Model, fields: Iterable[str]) -> Changes:
    """Return what differs between two states of a task, among `fields`."""
    changes: Changes = {}
    for name in fields:
        if _attribute(before, name) != _attribute(after, name):
            old, new = _values(before, name), _values(after, name)  # reads the owners only if they differ
            changes |= {key: [old[key], new[key]] for key in old}
    return changes


def state_of(task: models.Model) -> dict[str, Any]:
    """Return the tracked values of a task, in types that JSON has."""
    state: dict[str, Any] = {}
    for name in tracked_fields(task):
        state |= _values(task, name)
    return state


def creation_of(task: models.Model) -> Changes:
    """Return a creation as changes: every value, from None."""
    return {name: [None, value] for name, value in state_of(task).items()}


def deletion_of(task: models.Model) -> Changes:
    """Return a deletion as changes: every value, to None."""
    return {name: [value, None] for name, value in state_of(task).items()}


def _attribute(task: models.Model, name: str) -> Any:
    field: Any = task._meta.get_field(name)
    return field.to_python(getattr(task, field.attname))


def _values(task: models.Model, name: str) -> dict[str, Any]:
    if name == "owner":
        owner: Any = getattr(task, name)
        return {"owner": owner.get_username(), "owner_id": owner.pk}
    value = _attribute(task, name)
    return {name: value.isoformat() if isinstance(value, datetime) else value}
