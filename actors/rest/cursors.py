"""Encodes cursors: the row at which a page begins, and the order. They are not signed: a client may forge one.

Guarantee: a cursor of another order is refused, and every value read from a cursor is one that the database can compare
with the field.
"""

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from django.db import models

MAX_CURSOR_LENGTH = 400
PATTERN = rf"^[A-Za-z0-9_-]{{1,{MAX_CURSOR_LENGTH}}}$"

Fields = Mapping[str, "models.Field[Any, Any]"]
"""An order: names of fields, with "-" if descending, and the model's fields."""


class InvalidCursor(ValueError):
    """Raised when a text is no cursor, or a cursor of another order."""


class Place(NamedTuple):
    """Where a page begins: beside the row that has these values."""

    values: list[Any]

    backwards: bool
    """Whether the page is the one before the row, not the one after it."""


def write(fields: Fields, row: Any, *, backwards: bool) -> str:
    """Return the cursor of the page after a row, or before it.

    Args:
        fields: the order.
        row: an instance, or a dictionary, whose times may be ISO 8601 texts.
        backwards: whether the page is the one before the row.
    """
    names = [name.lstrip("-") for name in fields]
    values = [_encode(row[name] if isinstance(row, dict) else getattr(row, name)) for name in names]
    text = json.dumps([backwards, list(fields), *values], separators=(",", ":"))
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read(cursor: str, fields: Fields) -> Place:
    """Decode a cursor that a client sent.

    Raises:
        InvalidCursor: the text is no cursor of this order.
    """
    if not re.fullmatch(PATTERN, cursor):
        raise InvalidCursor(cursor)
    try:
        backwards, order, *values = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        decoded = [_decode(field, value) for field, value in zip(fields.values(), values, strict=True)]
    except (ValueError, TypeError):
        raise InvalidCursor(cursor) from None
    if not isinstance(backwards, bool) or order != list(fields):
        raise InvalidCursor(cursor)
    return Place(decoded, backwards)


def _encode(value: Any) -> Any:
    if isinstance(value, str):  # a time in ISO 8601, in the client's time zone
        value = datetime.fromisoformat(value)
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value


def _decode(field: models.Field[Any, Any], value: Any) -> Any:
    """Return a value of a cursor in the field's type.

    Raises:
        ValueError, TypeError: the field cannot have the value.
    """
    if isinstance(field, models.DateTimeField):
        moment = datetime.fromisoformat(value)
        if moment.utcoffset() != timedelta():
            raise ValueError(value)
        return moment
    expected = bool if isinstance(field, models.BooleanField) else int
    if type(value) is not expected or not 0 <= value <= models.BigIntegerField.MAX_BIGINT:
        raise ValueError(value)
    return value
