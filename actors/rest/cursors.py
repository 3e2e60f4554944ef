"""Encodes cursors: the row at which a page begins, and the order. Not signed: a client may well make one up.

Guarantee: a cursor of another order is refused, and every value read from a cursor is one that the database can compare
with the field.
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
"""The fields of an order: each one's name, with "-" if it is descending, and the model field."""


class InvalidCursor(ValueError):
    """Raised when a text is no cursor, or a cursor of another order."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a page begins: after or before the row that has these values."""

    values: tuple[Any, ...]

    backwards: bool
    """Whether the page is the one before the row."""


def write(names: Sequence[str], row: Any, *, backwards: bool) -> str:
    """Return the cursor of the page after a row, or before it.

    Args:
        names: the fields of the order, with "-" if descending.
        row: an instance, or a dictionary, whose times may be ISO 8601 texts.
        backwards: whether the page is the one before the row.
    """
    values = [_spelt(_value(row, name.lstrip("-"))) for name in names]
    text = json.dumps([backwards, names, *values], separators=(",", ":"))
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read(cursor: str, fields: Fields) -> Place:
    """Decode a cursor.

    Args:
        cursor: the client's text.
        fields: the order that it must be of.

    Raises:
        InvalidCursor: the text is no cursor of this order.
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
    if isinstance(value, str):  # a time that is a text already, in the client's time zone
        value = datetime.fromisoformat(value)
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value


def _decoded(cursor: str) -> bytes:
    """Return the bytes of a cursor.

    Raises:
        ValueError: the text is too long or no URL-safe Base64.
    """
    if not re.fullmatch(rf"[A-Za-z0-9_-]{{1,{MAX_CURSOR_LENGTH}}}", cursor):
        raise ValueError(cursor)
    return urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))


def _parsed(field: models.Field[Any, Any], value: Any) -> Any:
    """Return a value of a cursor in the field's type.

    Raises:
        ValueError, TypeError: the field cannot have the value.
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
