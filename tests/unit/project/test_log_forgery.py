"""Nothing that is logged forges a line or controls a terminal: neither a text, an exception nor a keyword."""

import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from project.logs import INDENT, LineFormatter
from settings.logging import LOGGING

HEAD = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|ERROR) tasks\[\d+\] ")
FORGED = "2026-11-29 12:00:00,000 ERROR actors.outbox[1] state=dead"
CONTROLS = {chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))}
BIDI = {*"\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}
UNSAFE = CONTROLS | BIDI | {*"\u2028\u2029"}
PIECES = st.one_of(st.characters(), st.sampled_from(sorted(UNSAFE)), st.just(f"\n{FORGED}"))
TEXTS = st.lists(PIECES, max_size=8).map("".join)


class Odd(Exception):
    """An error whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def raise_as_text(text: str) -> None:
    raise ValueError(text)


def raise_by_keyword(text: str) -> None:
    raise_as_text(**{text: 1})  # type: ignore[arg-type]


def raise_in_chain(text: str) -> None:
    try:
        raise_as_text(text)
    except ValueError as error:
        error.add_note(text)
        raise KeyError(text) from error


def raise_of_a_named_type(text: str) -> None:
    raise type(text.replace("\0", "").encode("utf-8", "replace").decode(), (Exception,), {"__module__": FORGED})


def raise_without_a_text(text: str) -> None:
    raise Odd(text)


def raise_where_the_code_is_named_so(text: str) -> None:
    name = text.replace("\0", "").encode("utf-8", "replace").decode()
    exec(compile("1 / 0", name, "exec"))  # noqa: S102 – the name of a file is part of a traceback


RAISERS = [
    *(raise_as_text, raise_by_keyword, raise_in_chain, raise_of_a_named_type, raise_without_a_text),
    raise_where_the_code_is_named_so,
]


def formatted(text: str, raiser: Callable[[str], None] | None, *, stack: str | None = None) -> str:
    """Format an event as the service does, with this text and with the exception that the function raises."""
    failure: Any = None
    try:
        if raiser:
            raiser(text)
    except Exception as error:  # noqa: BLE001 – of any type
        failure = (type(error), error, error.__traceback__)
    level = logging.ERROR if raiser else logging.INFO
    record = logging.LogRecord("tasks", level, __file__, 1, "%s", (text,), failure, sinfo=stack)
    # As a handler with another formatter leaves it, which has seen the record first.
    logging.Formatter().format(record)
    return LineFormatter(LOGGING["formatters"]["line"]["format"], style="{").format(record)


@given(text=TEXTS, raiser=st.sampled_from([None, *RAISERS]), stack=st.one_of(st.none(), TEXTS))
@example(text=f"x\n{FORGED}", raiser=raise_by_keyword, stack=f"Stack:\r\n{FORGED}")
@example(text="\ud800\x1b[2J\u202e\u2028", raiser=raise_in_chain, stack=None)
@hypothesis_settings(deadline=None, max_examples=300)
def test_one_event_is_one_line_and_indented_ones(
    text: str, raiser: Callable[[str], None] | None, stack: str | None
) -> None:
    written = formatted(text, raiser, stack=stack)
    first, *others = written.splitlines()

    assert HEAD.match(first)
    assert [line for line in others if not line.startswith(INDENT)] == []
    assert {*written} & UNSAFE <= {"\n"}
    assert written.encode()  # no half of a surrogate pair is left


@pytest.mark.parametrize("char", sorted(BIDI | {"\x9b", "\x7f", "\x1b", "\t"}))
def test_what_reorders_or_controls_is_shown_as_an_escape(char: str) -> None:
    escape = repr(char)[1:-1]

    assert formatted(f"a{char}b", None).endswith(f" a{escape}b")
    assert formatted(f"a{char}b", raise_as_text).endswith(f"\n    ValueError: a{escape}b")


@pytest.mark.parametrize(
    "text", ["oʻzbekcha, gʻisht", "Ўткан кунлар", "日本語", "👩\u200d💻 🏴\U000e0067\U000e0062", "a\u00a0b"]
)
def test_other_letters_and_signs_stay_as_they_are(text: str) -> None:
    assert formatted(text, None).endswith(f" {text}")
    assert formatted(text, raise_as_text).endswith(f"\n    ValueError: {text}")


def handlers_of(name: str) -> Iterator[logging.Handler]:
    """Yield the handlers that write a logger's lines, but pytest's."""
    logger: logging.Logger | None = logging.getLogger(name)
    while logger:
        yield from (
            each
            for each in logger.handlers
            if not (isinstance(each, logging.NullHandler) or type(each).__module__.startswith("_pytest"))
        )
        logger = logger.parent if logger.propagate else None


@pytest.mark.parametrize(
    "name",
    [
        *("actors.outbox", "django", "django.request", "django.server", "django.security.csrf", "gunicorn.error"),
        *("gunicorn.access", "dramatiq.worker", "dramatiq.middleware", "pika", "py.warnings"),
    ],
)
def test_lines_of_libraries_pass_the_same_formatter(name: str) -> None:
    formatters = [type(handler.formatter) for handler in handlers_of(name)]

    assert formatters == [LineFormatter]
