"""The web server under misbehaving clients and views: no partial response looks whole, no header or request is forged,
and slow clients delay no others.
"""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from project.local.servers.process import wait_until
from tests.integration.gunicorn_server import TIMEOUT_SECONDS, Web

pytestmark = pytest.mark.integration

EACH = 3
HOST = b"Host: 127.0.0.1\r\n"
LOGIN = b"POST /api/token/ HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"


def small_web(state: Path) -> Web:
    small = {"WEB_CONCURRENCY": "1", "WEB_THREADS": str(3 * EACH), "STREAM_CLIENTS": "0", "EXPORT_CLIENTS": "0"}
    return Web(state, application="tests.integration.misbehaving_application", **small)


@pytest.fixture(scope="module")
def shared_web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """For tests that leave it as it was."""
    with small_web(tmp_path_factory.mktemp("web")) as web:
        yield web


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """For tests that stop or kill it."""
    with small_web(tmp_path) as web:
        yield web


def everything_from(connection: socket.socket) -> bytes:
    """Return what is sent until the server hangs up."""
    with connection:
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def test_an_answer_that_breaks_off_does_not_look_whole(shared_web: Web) -> None:
    with pytest.raises(httpx.RemoteProtocolError), shared_web.client.stream("GET", "/breaks-off/") as answer:
        assert b"".join(answer.iter_bytes()) == b"half of it"
    assert shared_web.answers()


def test_no_header_is_forged_by_an_underscore(shared_web: Web) -> None:
    forged = shared_web.client.get("/health/live/", headers={"X_Request_ID": "forged"})
    honest = shared_web.client.get("/health/live/", headers={"X-Request-ID": "honest", "X_Request_ID": "forged"})

    assert forged.headers["X-Request-ID"] != "forged"
    assert honest.headers["X-Request-ID"] == "honest"


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: +5\r\n",
        b"Transfer-Encoding: xchunked\r\n",
    ],
)
def test_a_body_whose_length_is_in_doubt_hides_no_request(shared_web: Web, headers: bytes) -> None:
    hidden = b"0\r\n\r\nGET /health/live/ HTTP/1.1\r\n" + HOST + b"\r\n"
    answers = everything_from(shared_web.send(LOGIN + headers + b"\r\n" + hidden))

    assert answers.count(b"HTTP/1.1 ") == 1
    assert answers.split()[1] in {b"400", b"501"}


@pytest.mark.parametrize(
    ("path", "kind", "status"),
    [
        ("/tasks/", "application/json", b"401"),
        ("/nowhere/", "application/json", b"404"),
        ("/api/token/", "application/json; charset=latin-1", b"415"),
        ("/api/token/", "image/png", b"415"),
    ],
)
def test_a_refusal_of_a_request_that_has_come_keeps_the_connection(
    shared_web: Web, path: str, kind: str, status: bytes
) -> None:
    body = b"x" * 300_000
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    last = b"GET /health/live/ HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n"
    answers = everything_from(shared_web.send(head.encode() + body + last)).split(b"HTTP/1.1 ")[1:]

    assert [answer[:3] for answer in answers] == [status, b"200"]
    assert [b"\r\nConnection: keep-alive\r\n" in answer for answer in answers] == [True, False]


@pytest.mark.parametrize(
    ("framing", "status"),
    [(b"Content-Length: 20000000", b"413"), (b"Transfer-Encoding: chunked", b"411")],
)
@pytest.mark.parametrize("path", [b"/api/token/", b"/tasks/", b"/nowhere/"])
def test_a_refusal_of_a_body_that_is_not_read_can_be_read_while_the_client_sends(
    shared_web: Web, path: bytes, framing: bytes, status: bytes
) -> None:
    head = b"POST " + path + b" HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n" + framing + b"\r\n\r\n"
    body = b"x" * 20_000_000 if status == b"413" else b"1000000\r\n" + b"x" * 0x1000000 + b"\r\n0\r\n\r\n"
    answer = everything_from(shared_web.send(head + body))

    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.split()[1] == status
    assert b"\r\nConnection: close\r\n" in answer
    assert b'{"detail":' in answer


@pytest.mark.parametrize("hosts", [b"", HOST + HOST, HOST + b"hOST: evil.example\r\n"])
def test_a_request_that_does_not_say_whom_it_asks_is_refused(shared_web: Web, hosts: bytes) -> None:
    request = b"GET /health/live/ HTTP/1.1\r\n" + hosts + b"\r\n"
    head, _, sentence = everything_from(shared_web.send(request + request)).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n")
    assert sentence == (b"Invalid HTTP Header: 'HOST'\n" if hosts else b"An HTTP/1.1 request needs a Host header.\n")


def test_a_request_of_http_1_0_needs_no_host(shared_web: Web) -> None:
    answer = everything_from(shared_web.send(b"GET /health/live/ HTTP/1.0\r\n\r\n"))
    assert answer.startswith(b"HTTP/1.0 200 OK\r\n")


def test_a_client_that_asks_is_told_to_send_a_body_that_will_be_read(shared_web: Web) -> None:
    asking = LOGIN + b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: "
    with shared_web.send(asking + b"2\r\n\r\n") as connection:
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"[]")
        assert everything_from(connection).startswith(b"HTTP/1.1 400 ")
    assert everything_from(shared_web.send(asking + b"20000000\r\n\r\n")).startswith(b"HTTP/1.1 413 ")


def test_no_response_names_the_software_or_is_taken_for_a_page(shared_web: Web) -> None:
    requests = [b"GET /health/live/ HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n", b"garbage\r\n\r\n"]
    for request in requests:
        answer = everything_from(shared_web.send(request)).lower()
        assert answer.startswith(b"http/1.1 ")
        assert b"\r\nserver:" not in answer
        assert b"gunicorn" not in answer
        assert b"\r\nx-content-type-options: nosniff\r\n" in answer
        assert b"\r\ncontent-type: text/html" not in answer


def test_who_does_not_hang_up_holds_up_nobody(shared_web: Web) -> None:
    last = b"GET /health/live/ HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n"
    held = [shared_web.send(request) for request in (last, b"garbage\r\n\r\n") * 12]
    try:
        # Each of them one after the other would take longer than this client waits.
        assert shared_web.client.get("/health/live/", timeout=40).is_success
    finally:
        for connection in held:
            connection.close()


@pytest.mark.heavy
def test_who_is_silent_in_the_middle_is_cut_off(web: Web) -> None:
    kinds = {
        "headers": b"GET /health/live/ HTTP/1.1\r\n" + HOST + b"X-",
        "body": LOGIN + b"Content-Length: 1000\r\n\r\n{",
        "reading": b"GET /endless/ HTTP/1.1\r\n" + HOST + b"\r\n",
    }
    silent = {kind: [web.send(request) for _ in range(EACH)] for kind, request in kinds.items()}

    assert web.client.get("/health/live/").is_success
    for connection in [*silent["headers"], *silent["body"]]:
        assert everything_from(connection).startswith(b"HTTP/1.1 408 ")
    assert wait_until(lambda: "A client read its response too slowly" in web.log.read_text("utf-8"), timeout_seconds=60)
    for connection in silent["reading"]:
        with pytest.raises(ConnectionResetError):
            everything_from(connection)
    lines = web.stop()
    assert None not in lines
    assert [line["message"] for line in lines if line and line["level"] not in {"INFO", "WARNING"}] == []


def test_a_request_in_flight_is_answered_before_the_process_ends(web: Web) -> None:
    half = web.send(LOGIN + b"Content-Length: 4\r\n\r\n{")
    other = web.send(b"GET /health/live/ HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
    assert everything_from(other).startswith(b"HTTP/1.1 200 ")  # so the one before is being served as well
    web.process.send_signal(signal.SIGTERM)
    assert wait_until(lambda: "Handling signal: term" in web.log.read_text("utf-8"), timeout_seconds=TIMEOUT_SECONDS)
    half.sendall(b"[]}")

    assert everything_from(half).startswith(b"HTTP/1.1 400 ")
    assert web.process.wait(30) == 0


def test_a_worker_that_is_killed_is_replaced(web: Web) -> None:
    [killed] = web.workers()
    killed.kill()

    assert wait_until(lambda: web.workers() not in ([], [killed]) and web.answers(), timeout_seconds=TIMEOUT_SECONDS)


def test_a_master_that_is_killed_leaves_no_worker_behind(web: Web) -> None:
    [worker] = web.workers()
    os.kill(web.process.pid, signal.SIGKILL)
    web.process.wait(30)

    assert wait_until(lambda: not worker.is_running(), timeout_seconds=TIMEOUT_SECONDS)
