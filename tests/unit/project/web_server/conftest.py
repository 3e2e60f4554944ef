"""Fixtures of the web server's tests."""

import logging
from collections.abc import Iterator

import pytest
from gunicorn.config import Config

from project.web_server.logger import WebLogger


@pytest.fixture
def web_logger() -> Iterator[WebLogger]:
    """The web server's logger; afterwards the process's loggers are as the settings left them."""
    loggers = [logging.getLogger(name) for name in ("gunicorn.error", "gunicorn.access")]
    before = [(logger, list(logger.handlers), logger.level, logger.propagate) for logger in loggers]
    yield WebLogger(Config())
    for logger, handlers, level, propagate in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate
