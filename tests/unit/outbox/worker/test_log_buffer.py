"""Buffered lines are all written, once, in their order, and before the batch is settled."""

import logging
import threading
from collections.abc import Iterator
from logging.handlers import MemoryHandler

import pytest

from actors.outbox.worker.log_buffer import buffered_lines, flush_lines, lines_may_wait


class Buffer(MemoryHandler):
    """A handler as the outbox expects one; it remembers what each flush wrote."""

    def __init__(self) -> None:
        super().__init__(capacity=100, flushLevel=logging.CRITICAL)
        self.written: list[list[str]] = []
        self.says_more = False

    def shouldFlush(self, record: logging.LogRecord) -> bool:
        return not lines_may_wait() or super().shouldFlush(record)

    def flush(self) -> None:
        records, self.buffer = self.buffer, []
        if records:
            self.written.append([record.getMessage() for record in records])
        if self.says_more:
            self.says_more = False
            log("and one more")


def log(text: str) -> None:
    logging.getLogger("buffered").error(text)


@pytest.fixture
def handler() -> Iterator[Buffer]:
    handler = Buffer()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


def test_without_a_batch_no_line_waits(handler: Buffer) -> None:
    log("a")
    assert handler.written == [["a"]]


def test_buffered_lines_are_written_at_the_end_at_once_and_in_order(handler: Buffer) -> None:
    with buffered_lines():
        for text in "abc":
            log(text)
        assert handler.written == []
    log("d")
    assert handler.written == [["a", "b", "c"], ["d"]]


def test_buffered_lines_are_written_if_something_fails(handler: Buffer) -> None:
    def fail() -> None:
        log("a")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), buffered_lines():
        fail()
    assert handler.written == [["a"]]


def test_buffered_lines_can_be_written_halfway_and_only_once(handler: Buffer) -> None:
    with buffered_lines():
        log("a")
        flush_lines()
        assert handler.written == [["a"]]
        log("b")
    assert handler.written == [["a"], ["b"]]


def test_another_threads_line_does_not_wait_and_overtakes_nothing(handler: Buffer) -> None:
    with buffered_lines():
        log("a")
        thread = threading.Thread(target=log, args=["b"])
        thread.start()
        thread.join()
        assert handler.written == [["a", "b"]]
    assert handler.written == [["a", "b"]]


@pytest.mark.parametrize("halfway", [True, False])
def test_a_line_that_a_handler_logs_while_it_writes_is_not_lost(handler: Buffer, halfway: bool) -> None:
    with buffered_lines():
        log("a")
        handler.says_more = True
        if halfway:
            flush_lines()
    assert handler.written == [["a"], ["and one more"]]
