"""A request is whole when its head and the body that is awaited are there, however the bytes come."""

import pytest

from project.web_server import arrival
from project.web_server.arrival import HEAD_SECONDS, MAX_HEAD_BYTES, Arrival

MAX_BODY = 1_000
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\ncontent-LENGTH:  4 \r\n\r\n"


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which a test sets."""
    time = [100.0]
    monkeypatch.setattr(arrival, "monotonic", lambda: time[0])
    return time


def arrived(*pieces: bytes) -> Arrival:
    found = Arrival(max_body=MAX_BODY)
    for piece in pieces:
        found.add(piece)
    return found


@pytest.mark.parametrize("whole", [GET, POST + b"body", b"\r\n" + GET])
def test_a_request_is_whole_with_its_last_byte(whole: bytes) -> None:
    assert arrived(whole).is_whole
    assert not arrived(whole[:-1]).is_whole
    dripped = Arrival(max_body=MAX_BODY)
    states = []
    for place in range(len(whole)):
        dripped.add(whole[place : place + 1])
        states.append(dripped.is_whole)
    assert states == [False] * (len(whole) - 1) + [True]
    assert bytes(dripped.data) == whole


def test_what_follows_a_request_is_kept_behind_it() -> None:
    found = arrived(POST + b"bo", b"dy" + GET)

    assert found.is_whole
    assert found.has_body
    assert bytes(found.data) == POST + b"body" + GET


@pytest.mark.parametrize(
    "field",
    [
        b"Content-Length: 1001",
        b"Content-Length: +4",
        b"Content-Length: 4,4",
        b"Content-Length: 4\r\nContent-Length: 5",
        b"Content-Length: " + b"9" * 30,
        b"Content-Length:",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4",
        b"Transfer-Encoding: identity",
    ],
)
def test_a_body_that_is_not_awaited_goes_to_the_parser_at_once(field: bytes) -> None:
    found = arrived(b"POST / HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n\r\n")

    assert found.is_whole
    assert not found.has_body


@pytest.mark.parametrize("pieces", [(b"GET / HTTP/1.1\nHo",), (b"GET / HTTP/1.1\r\nHost: a", b"\nX"), (b"\n",)])
def test_lines_that_no_head_has_go_to_the_parser_at_once(pieces: tuple[bytes, ...]) -> None:
    assert arrived(*pieces).is_whole


def test_a_line_end_that_comes_in_two_pieces_is_one() -> None:
    found = arrived(GET[:-1], GET[-1:] + b"GET")

    assert found.is_whole
    assert not arrived(b"GET / HTTP/1.1\r", b"\nHost: a").is_whole


def test_a_head_without_an_end_is_too_long() -> None:
    assert not arrived(b"x" * MAX_HEAD_BYTES).is_too_long
    assert arrived(b"x" * MAX_HEAD_BYTES, b"x").is_too_long
    assert not arrived(POST.replace(b" 4 ", b"999"), b"x" * 998).is_too_long


def test_a_head_has_its_time_from_its_first_byte(now: list[float]) -> None:
    found = Arrival(max_body=MAX_BODY, deadline=1_000.0)
    for place in range(9):
        found.add(GET[place : place + 1])
        now[0] += 1

    assert not found.is_overdue(100.0 + HEAD_SECONDS)
    assert found.is_overdue(100.1 + HEAD_SECONDS)


def test_a_body_that_drips_is_overdue(now: list[float]) -> None:
    found = arrived(POST.replace(b" 4 ", b"999"))
    overdue = []
    for _second in range(12):
        now[0] += 1
        found.add(b"x")
        overdue.append(found.is_overdue(now[0]))

    assert overdue == [False] * 10 + [True] * 2


def test_who_waits_for_a_go_ahead_is_known() -> None:
    asked = POST.replace(b"Host", b"Expect: 100-continue\r\nHost")

    assert arrived(asked).wants_continue
    assert not arrived(asked + b"body").wants_continue, "the body has come without"
    assert not arrived(asked.replace(b"HTTP/1.1", b"HTTP/1.0")).wants_continue
    assert not arrived(POST).wants_continue
