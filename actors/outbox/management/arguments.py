"""Types of the commands' arguments: each parses a text, or raises `ArgumentTypeError` with what is expected.

Also the name of the person who decides, where none is given.
"""

import getpass
import os
import re
from argparse import ArgumentTypeError
from datetime import UTC, datetime, timedelta

from django.db.models import BigIntegerField
from django.utils import timezone
from django.utils.dateparse import parse_datetime

MAX_SECONDS = 3_600
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def row_id(text: str) -> int:
    """Return the id of a row."""
    if not re.fullmatch(r"[0-9]{1,19}", text) or not 0 < int(text) <= BigIntegerField.MAX_BIGINT:
        raise ArgumentTypeError(f"{text!r} is no row id: a whole number from 1")
    return int(text)


def count(text: str) -> int:
    """Return a number of rows; 0 is allowed."""
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ArgumentTypeError(f"{text!r} is no number of rows, or more than there can be")
    return int(text)


def seconds(text: str) -> float:
    """Return a number of seconds, up to an hour."""
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,6})?", text) or float(text) > MAX_SECONDS:
        raise ArgumentTypeError(f"{text!r} is no number of seconds, up to an hour")
    return float(text)


def word(text: str) -> str:
    """Return a text that is not empty: an unset variable in a script must not count as a condition."""
    if not text.strip():
        raise ArgumentTypeError("it is empty")
    return text


def moment(text: str) -> datetime:
    """Return a time in UTC, from an ISO date or time (2026-01-31, 2026-01-31T12:00) or an age (90m, 12h, 7d).

    Without an offset, a date or time is in Django's current time zone.
    """
    try:
        if ago := re.fullmatch(r"([0-9]{1,6})([smhd])", text):
            return timezone.now() - timedelta(**{UNITS[ago[2]]: int(ago[1])})
        if found := parse_datetime(text) or parse_datetime(f"{text}T00:00"):
            aware = found if timezone.is_aware(found) else timezone.make_aware(found)
            return aware.astimezone(UTC)  # fails for a time that no database can store
    except (ValueError, OverflowError):
        pass
    raise ArgumentTypeError(f"{text!r} is no time, such as 2026-01-31, 2026-01-31T12:00, 90m, 12h or 7d")


def os_user() -> str:
    """Return the name of the operating system's user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container the user may have no name
        return f"uid {os.getuid()}"
