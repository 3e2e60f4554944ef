"""The web server's log: a line for each request if the access log is on, and no work if it is off."""

import logging
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from project.logs import LineFormatter
from project.web_server.client_socket import ClientTooSlow
from project.web_server.logger import WebLogger


class Untouchable:
    """Raises on every access."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was asked for")


@pytest.fixture
def log(web_logger: WebLogger, caplog: pytest.LogCaptureFixture) -> WebLogger:
    """The web server's logger, whose records are `caplog`'s."""
    for logger in (web_logger.access_log, web_logger.error_log):
        logger.addHandler(caplog.handler)
    return web_logger


def test_a_request_is_a_line_that_can_be_found_by_its_id(log: WebLogger, caplog: pytest.LogCaptureFixture) -> None:
    log.access_log.setLevel(logging.INFO)
    answer = SimpleNamespace(status="201 Created", headers=[("Allow", "GET"), ("x-request-id", "abc")])
    asked = {"REQUEST_METHOD": "POST", "RAW_URI": "/tasks/?a=b", "REMOTE_ADDR": "127.0.0.1"}
    log.access(answer, None, asked, timedelta(seconds=1, microseconds=2_999))

    assert caplog.messages == ["POST /tasks/?a=b 201 1002ms 127.0.0.1 request_id=abc"]


def test_a_request_that_got_nowhere_is_one_too(log: WebLogger, caplog: pytest.LogCaptureFixture) -> None:
    log.access_log.setLevel(logging.INFO)
    log.access(SimpleNamespace(status=None, headers=[]), None, {"RAW_URI": "/\x1b[2J\n"}, timedelta())

    [record] = caplog.records
    assert LineFormatter().format(record) == r"- /\x1b[2J\n None 0ms - request_id=-"


def test_a_line_that_is_not_written_costs_nothing(log: WebLogger) -> None:
    log.access_log.setLevel(logging.CRITICAL)
    nothing: Any = Untouchable()

    log.access(nothing, nothing, nothing, nothing)


@pytest.mark.parametrize(("error", "level"), [(ClientTooSlow(), "INFO"), (OSError("what is this"), "ERROR")])
def test_a_client_that_was_cut_off_is_no_error(
    log: WebLogger, caplog: pytest.LogCaptureFixture, error: OSError, level: str
) -> None:
    log.error_log.setLevel(logging.INFO)
    try:
        raise error
    except OSError:
        log.exception("Socket error processing request.")

    [record] = caplog.records
    assert (record.levelname, bool(record.exc_info)) == (level, level == "ERROR")
