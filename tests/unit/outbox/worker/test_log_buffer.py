"""Lines that a thread buffers are all written, once, in their order, and none too late."""

import logging
import threading

import pytest

from actors.outbox.worker.log_buffer import Line, buffer_line, buffered_lines, flush_lines


class Handler:
    """A handler, which remembers what each write wrote."""

    def __init__(self) -> None:
        self.written: list[list[str]] = []

    def write(self, lines: list[Line]) -> None:
        self.written.append([text for _record, text in lines])


@pytest.fixture
def handler() -> Handler:
    return Handler()


def line(text: str) -> Line:
    return logging.LogRecord("name", logging.INFO, __file__, 1, text, None, None), text


def test_without_a_buffer_nothing_is_kept(handler: Handler) -> None:
    assert not buffer_line(handler.write, line("a"))
    flush_lines()
    assert handler.written == []


def test_buffered_lines_are_written_at_the_end_at_once_and_in_order(handler: Handler) -> None:
    with buffered_lines():
        assert all(buffer_line(handler.write, line(text)) for text in "abc")
        assert handler.written == []
    assert handler.written == [["a", "b", "c"]]
    assert not buffer_line(handler.write, line("d"))


def test_buffered_lines_are_written_if_something_fails(handler: Handler) -> None:
    def fail() -> None:
        buffer_line(handler.write, line("a"))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), buffered_lines():
        fail()
    assert handler.written == [["a"]]


def test_buffered_lines_can_be_written_halfway_and_only_once(handler: Handler) -> None:
    with buffered_lines():
        buffer_line(handler.write, line("a"))
        flush_lines()
        assert handler.written == [["a"]]
        buffer_line(handler.write, line("b"))
    assert handler.written == [["a"], ["b"]]


def test_a_handler_may_write_its_own_lines_alone(handler: Handler) -> None:
    other = Handler()
    with buffered_lines():
        buffer_line(handler.write, line("a"))
        buffer_line(other.write, line("a"))
        flush_lines(handler.write)
        assert (handler.written, other.written) == ([["a"]], [])
    assert (handler.written, other.written) == ([["a"]], [["a"]])


def test_other_threads_have_no_buffer(handler: Handler) -> None:
    kept: list[bool] = []
    with buffered_lines():
        thread = threading.Thread(target=lambda: kept.append(buffer_line(handler.write, line("a"))))
        thread.start()
        thread.join()
    assert kept == [False]
    assert handler.written == []


@pytest.mark.parametrize("halfway", [True, False])
def test_a_line_that_a_handler_logs_while_it_writes_is_not_lost(halfway: bool) -> None:
    class Talkative(Handler):
        def write(self, lines: list[Line]) -> None:
            first = not self.written
            super().write(lines)
            if first and not buffer_line(self.write, line("and one more")):
                self.write([line("and one more")])

    handler = Talkative()
    with buffered_lines():
        buffer_line(handler.write, line("a"))
        if halfway:
            flush_lines()
    assert handler.written == [["a"], ["and one more"]]
