"""Arguments of the commands are parsed, or refused with an error that says what is expected."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from actors.outbox.management import arguments


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (arguments.row_id, "1", 1),
        (arguments.row_id, str(2**63 - 1), 2**63 - 1),
        (arguments.count, "0", 0),
        (arguments.seconds, "0.5", 0.5),
        (arguments.seconds, "3600", 3_600.0),
        (arguments.word, "task:1", "task:1"),
        (arguments.moment, "2026-01-31T12:00+05:00", datetime(2026, 1, 31, 7, tzinfo=UTC)),
        (arguments.moment, "2026-01-31", datetime(2026, 1, 30, 19, tzinfo=UTC)),  # of the time zone Asia/Tashkent
        (arguments.moment, "2026-2-1", datetime(2026, 1, 31, 19, tzinfo=UTC)),
    ],
)
def test_what_is_meant_is_taken(kind: Callable[[str], Any], text: str, value: Any) -> None:
    assert kind(text) == value


def test_a_time_may_be_so_long_ago() -> None:
    assert timezone.now() - arguments.moment("90m") == pytest.approx(timedelta(minutes=90), abs=timedelta(minutes=1))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *((arguments.row_id, text) for text in ("", "0", "-1", "x", "1.5", str(2**63), "9" * 40, "١")),
        *((arguments.count, text) for text in ("", "-1", "x", "9" * 40)),
        *((arguments.seconds, text) for text in ("", "-1", "nan", "inf", "abc", "3600.1", "1e3")),
        *((arguments.word, text) for text in ("", " ")),
        *((arguments.moment, text) for text in ("", "x", "2026-13-45", "2026-01-01T99:99", "999999d", "0001-01-01")),
    ],
)
def test_what_means_nothing_is_refused(kind: Callable[[str], Any], text: str) -> None:
    with pytest.raises(ArgumentTypeError, match=r"is no |it is empty"):
        kind(text)


@pytest.mark.parametrize(
    "command",
    [
        ("outbox", "cancel", "--subject", ""),
        ("outbox", "cancel", "9" * 30),
        ("outbox", "status", "--seconds", "nan"),
        ("deadletters", "replay", "9" * 30, "--why", "x"),
        ("deadletters", "list", "--queue", ""),
        ("deadletters", "list", "--limit", "9" * 30),
        ("deadletters", "list", "--since", "0001-01-01"),
        ("relay", "--once", "--timeout=-3"),
    ],
)
def test_commands_refuse_it_before_they_do_anything(command: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match="argument"):
        call_command(*command)
