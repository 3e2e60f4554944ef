"""What a cursor says: beside which row a page begins, and in which order. Whoever makes one up gets a page.

Guarantee: what was not made for this order is refused, and what is read from one can be compared with by a database.
"""

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import models

MAX_ID = models.BigIntegerField.MAX_BIGINT
MAX_CURSOR_LENGTH = 400

Fields = Sequence[tuple[str, "models.Field[Any, Any]"]]
"""By what an order goes: the names, with a sign, and their fields."""


class InvalidCursor(ValueError):
    """Raised when a text is no cursor, or one of another order."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a page begins: beside a row that has these values."""

    values: tuple[Any, ...]

    backwards: bool
    """Whether the page is the one before the row."""


def write(names: Sequence[str], row: Any, *, backwards: bool) -> str:
    """Return the cursor of the page after a row, or before it.

    Args:
        names: by what rows are ordered, with a sign.
        row: an instance, or a dictionary in which times may be spelt.
        backwards: whether the page before it is meant.
    """
    values = [_spelt(_value(row, name.lstrip("-"))) for name in names]
    text = json.dumps([backwards, names, *values], separators=(",", ":"))
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read(cursor: str, fields: Fields) -> Place:
    """Return what a cursor says.

    Raises:
        InvalidCursor: it is none of this order.
    """
    try:
        backwards, order, *values = json.loads(_decoded(cursor))
        parsed = tuple(_parsed(field, value) for (_name, field), value in zip(fields, values, strict=True))
    except (ValueError, TypeError):
        raise InvalidCursor(cursor) from None
    if not isinstance(backwards, bool) or order != [name for name, _field in fields]:
        raise InvalidCursor(cursor)
    return Place(backwards=backwards, values=parsed)


def _value(row: Any, name: str) -> Any:
    return row[name] if isinstance(row, dict) else getattr(row, name)


def _spelt(value: Any) -> Any:
    if isinstance(value, str):  # a time that is spelt already, in a client's zone
        value = datetime.fromisoformat(value)
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value


def _decoded(cursor: str) -> bytes:
    """Return what a cursor says.

    Raises:
        ValueError: it is none.
    """
    if not re.fullmatch(rf"[A-Za-z0-9_-]{{1,{MAX_CURSOR_LENGTH}}}", cursor):
        raise ValueError(cursor)
    return urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))


def _parsed(field: models.Field[Any, Any], value: Any) -> Any:
    """Return a value of a cursor as the database takes it.

    Raises:
        ValueError, TypeError: the field has no such value.
    """
    if isinstance(field, models.DateTimeField):
        moment = datetime.fromisoformat(value)
        if moment.utcoffset() != timedelta():
            raise ValueError(value)
        return moment
    is_truth = isinstance(field, models.BooleanField)
    if type(value) is not (bool if is_truth else int) or not 0 <= value <= MAX_ID:
        raise ValueError(value)
    return value
