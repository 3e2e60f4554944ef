"""What a change of a task changes, in plain values that outlive it.

Bookkeeping is no change: neither the version, which counts changes, nor the time of the last one.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.models import Task

Changes = dict[str, list[Any]]
"""`{field: [old, new]}`; an owner is told by name (`owner`) and by id (`owner_id`)."""

BOOKKEEPING = ("id", "version", "updated_at")


def tracked_fields(task: "Task") -> list[str]:
    """Return the names of the fields whose changes are events."""
    return [field.name for field in task._meta.concrete_fields if field.name not in BOOKKEEPING]


def changes_between(before: "Task", after: "Task", fields: Iterable[str]) -> Changes:
    """Return what differs between two states of a task, among `fields`."""
    changes: Changes = {}
    for name in fields:
        if _attribute(before, name) != _attribute(after, name):
            old, new = _values(before, name), _values(after, name)  # an owner's name is asked for only where it matters
            changes |= {key: [old[key], new[key]] for key in old}
    return changes


def state_of(task: "Task") -> dict[str, Any]:
    """Return everything about a task that is tracked, as JSON takes it."""
    state: dict[str, Any] = {}
    for name in tracked_fields(task):
        state |= _values(task, name)
    return state


def creation_of(task: "Task") -> Changes:
    """Return the changes that made a task of nothing."""
    return {name: [None, value] for name, value in state_of(task).items()}


def deletion_of(task: "Task") -> Changes:
    """Return the changes that made nothing of a task."""
    return {name: [value, None] for name, value in state_of(task).items()}


def _attribute(task: "Task", name: str) -> Any:
    field = task._meta.get_field(name)
    return field.to_python(getattr(task, field.attname))  # type: ignore[union-attr]


def _values(task: "Task", name: str) -> dict[str, Any]:
    if name == "owner":
        return {"owner": task.owner.get_username(), "owner_id": task.owner_id}
    value = _attribute(task, name)
    return {name: value.isoformat() if isinstance(value, datetime) else value}
