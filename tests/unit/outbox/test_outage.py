"""An outage is told once a process: its beginning, further reasons, and its end when no part fails any more."""

import logging
import os
from collections.abc import Callable

import pytest

from actors.outbox.outage import Outage

Lines = Callable[[], list[str]]


@pytest.fixture
def now() -> list[float]:
    return [100.0]


@pytest.fixture
def outage(now: list[float]) -> Outage:
    return Outage("rabbitmq", clock=lambda: now[0])


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    caplog.set_level(logging.INFO, "actors.outbox")
    return lambda: [f"{one.levelname} {one.getMessage()}" for one in caplog.records]


def test_however_many_parts_fail_it_is_one_line_at_the_beginning_and_one_at_the_end(
    outage: Outage, now: list[float], lines: Lines
) -> None:
    outage.describe_backlog = lambda: "pending=3"
    for _ in range(5):
        for part in ("relay", "upkeep", "consumer of activity"):
            outage.fail(part, "reason='refused'", kind="refused")
    now[0] += 137
    outage.recover("consumer of activity")
    outage.recover("upkeep")
    assert len(lines()) == 1
    outage.recover("relay")
    outage.recover("relay")
    assert lines() == [
        "ERROR rabbitmq unavailable for='relay' reason='refused'",
        "INFO rabbitmq available again after_seconds=137.0 pending=3",
    ]


def test_a_reason_is_logged_at_its_first_time_and_a_lost_connection_is_none(outage: Outage, lines: Lines) -> None:
    for kind in ("silent", None, "refused", "silent", "refused"):
        outage.fail("relay", f"reason={kind!r}", kind=kind)
    assert lines() == [
        "ERROR rabbitmq unavailable for='relay' reason='silent'",
        "WARNING rabbitmq still unavailable for='relay' reason='refused'",
    ]


def test_a_part_that_tries_no_more_is_no_end_and_no_obstacle_to_one(outage: Outage, lines: Lines) -> None:
    outage.fail("upkeep", "", kind="silent")
    outage.leave("upkeep")
    assert len(lines()) == 1
    outage.recover("relay")  # which never failed: a proof
    assert lines()[1:] == ["INFO rabbitmq available again after_seconds=0.0"]


def test_the_next_outage_is_told_anew(outage: Outage, lines: Lines) -> None:
    for _ in range(2):
        outage.fail("relay", "", kind="silent")
        outage.recover("relay")
    assert len(lines()) == 4


def test_a_forked_process_knows_nothing_of_its_parents_outage(outage: Outage, lines: Lines) -> None:
    outage.fail("relay", "", kind="silent")
    with outage._lock:  # as another thread may have it at this moment
        pid = os.fork()
        if pid == 0:
            outage.recover("relay")
            outage.fail("relay", "", kind="silent")
            os._exit(len(lines()))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 2
