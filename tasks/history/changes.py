"""A change of a task as plain values that outlive it: the difference between the states before and after.

Bookkeeping fields are not compared: the id, the version, which counts changes, and the time of the last change.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Generic, TypeVar

from django.db import models

Changes = dict[str, list[Any]]
"""`{field: [old, new]}`; an owner is given by name (`owner`) and by id (`owner_id`)."""

BOOKKEEPING = ("id", "version", "updated_at")

Row = TypeVar("Row", bound=models.Model)


@dataclass(frozen=True, kw_only=True)
class PendingChange(Generic[Row]):
    """One version of a row: written, and not committed yet."""

    before: Row | None
    """None for a creation."""

    after: Row | None
    """None for a deletion. The stored row: with `update_fields` it differs from the instance that was saved."""

    is_mass: bool = False
    """Whether one call changes so many rows that their events must not delay those of others."""

    @property
    def row(self) -> Row:
        """The row after the change; for a deletion, the row before it."""
        row = self.after or self.before
        assert row is not None
        return row

    @property
    def version(self) -> int:
        """The number of the change: a deletion comes after the row's last version."""
        return int(self.row.version) + (self.after is None)  # type: ignore[attr-defined]

    @cached_property
    def changes(self) -> Changes:
        """The fields that differ: the old values are None for a creation, the new ones for a deletion."""
        changes: Changes = {}
        for name in tracked_fields(self.row):
            if not (self.before and self.after and _attribute(self.before, name) == _attribute(self.after, name)):
                old, new = _values(self.before, name), _values(self.after, name)  # reads the owners only if they differ
                changes |= {key: [old.get(key), new.get(key)] for key in new or old}
        return changes


def tracked_fields(task: models.Model) -> list[str]:
    """Return the names of the fields whose changes are events."""
    return [field.name for field in task._meta.concrete_fields if field.name not in BOOKKEEPING]


def state_of(task: models.Model) -> dict[str, Any]:
    """Return the tracked values of a task, in types that JSON has."""
    return {key: value for name in tracked_fields(task) for key, value in _values(task, name).items()}


def _attribute(task: models.Model, name: str) -> Any:
    field: Any = task._meta.get_field(name)
    return field.to_python(getattr(task, field.attname))


def _values(task: models.Model | None, name: str) -> dict[str, Any]:
    if task is None:
        return {}
    if name == "owner":
        owner: Any = getattr(task, name)
        return {"owner": owner.get_username(), "owner_id": owner.pk}
    value = _attribute(task, name)
    return {name: value.isoformat() if isinstance(value, datetime) else value}
