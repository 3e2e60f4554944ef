"""Lines that a thread gathers are all written, once, in their order, and none too late."""

import logging
import threading

import pytest

from actors.outbox.worker.log_buffer import Line, buffer_line, buffered_lines, flush_lines


class Place:
    """Somewhere to write to, which remembers what each write wrote."""

    def __init__(self) -> None:
        self.written: list[list[str]] = []

    def write(self, lines: list[Line]) -> None:
        self.written.append([text for _record, text in lines])


@pytest.fixture
def place() -> Place:
    return Place()


def line(text: str) -> Line:
    return logging.LogRecord("name", logging.INFO, __file__, 1, text, None, None), text


def test_without_gathering_nothing_is_kept(place: Place) -> None:
    assert not buffer_line(place.write, line("a"))
    flush_lines()
    assert place.written == []


def test_what_is_gathered_is_written_at_the_end_at_once_and_in_order(place: Place) -> None:
    with buffered_lines():
        assert all(buffer_line(place.write, line(text)) for text in "abc")
        assert place.written == []
    assert place.written == [["a", "b", "c"]]
    assert not buffer_line(place.write, line("d"))


def test_it_is_written_where_something_fails(place: Place) -> None:
    def fail() -> None:
        buffer_line(place.write, line("a"))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), buffered_lines():
        fail()
    assert place.written == [["a"]]


def test_it_is_written_halfway_if_asked_and_only_once(place: Place) -> None:
    with buffered_lines():
        buffer_line(place.write, line("a"))
        flush_lines()
        assert place.written == [["a"]]
        buffer_line(place.write, line("b"))
    assert place.written == [["a"], ["b"]]


def test_one_place_may_write_its_own_alone(place: Place) -> None:
    other = Place()
    with buffered_lines():
        buffer_line(place.write, line("a"))
        buffer_line(other.write, line("a"))
        flush_lines(place.write)
        assert (place.written, other.written) == ([["a"]], [])
    assert (place.written, other.written) == ([["a"]], [["a"]])


def test_other_threads_gather_nothing(place: Place) -> None:
    kept: list[bool] = []
    with buffered_lines():
        thread = threading.Thread(target=lambda: kept.append(buffer_line(place.write, line("a"))))
        thread.start()
        thread.join()
    assert kept == [False]
    assert place.written == []


@pytest.mark.parametrize("halfway", [True, False])
def test_what_a_place_logs_while_it_writes_is_not_lost(halfway: bool) -> None:
    class Talkative(Place):
        def write(self, lines: list[Line]) -> None:
            first = not self.written
            super().write(lines)
            if first and not buffer_line(self.write, line("and one more")):
                self.write([line("and one more")])

    place = Talkative()
    with buffered_lines():
        buffer_line(place.write, line("a"))
        if halfway:
            flush_lines()
    assert place.written == [["a"], ["and one more"]]
