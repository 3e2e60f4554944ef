"""A program that floods RabbitMQ causes so many lines a minute, and no more."""

import logging
from collections.abc import Iterator

import pytest

from actors.outbox import log_limit

TEMPLATE = "refused queue=%s"


@pytest.fixture
def now() -> list[float]:
    return [1000.0]


@pytest.fixture
def logger(now: list[float]) -> Iterator[logging.Logger]:
    logger = logging.getLogger("test_log_limit")
    limit = log_limit.LineLimit(TEMPLATE, max_lines=3, clock=lambda: now[0])
    logger.addFilter(limit)
    yield logger
    logger.removeFilter(limit)


def test_the_last_line_of_a_minute_says_that_others_are_not_logged(
    logger: logging.Logger, now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(10):
        logger.error(TEMPLATE, number)
    assert caplog.messages == ["refused queue=0", "refused queue=1", f"refused queue=2{log_limit.LAST % 60}"]
    now[0] += log_limit.WINDOW_SECONDS
    logger.error(TEMPLATE, 10)
    assert caplog.messages[3:] == ["refused queue=10"]


def test_other_lines_pass(logger: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(10):
        logger.error("another line")
    assert len(caplog.messages) == 10
