"""A thread gets whole requests only, never reads from a client, and lingers where that keeps no other waiting."""

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn import util
from gunicorn.config import Config
from gunicorn.http import wsgi

from project.web_server.gunicorn_internals import Connection, Worker
from project.web_server.logger import WebLogger
from project.web_server.loop import receive
from tests.internals import fail_if_changed
from tests.unit.project.web_server.connections import connected

HOST = b"Host: 127.0.0.1\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
POST = b"POST / HTTP/1.1\r\n" + HOST
Application = Callable[[dict[str, Any], Callable[..., Any]], Any]


def ignore_body(_environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "4")])
    return [b"done"]


def echo(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


@pytest.fixture
def worker(web_logger: WebLogger, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """A worker of four threads, none of them started."""
    monkeypatch.setattr(wsgi, "Response", wsgi.Response)  # which a worker replaces, as it does
    monkeypatch.setattr(util, "write_error", util.write_error)
    cfg = Config()
    cfg.set("threads", 4)
    worker = Worker(1, 1, [], SimpleNamespace(), 30, cfg, web_logger)
    worker.log.access_log.setLevel(logging.CRITICAL)
    worker.tpool = SimpleNamespace(_work_queue=SimpleQueue[Any]())
    worker.wsgi = ignore_body
    yield worker
    worker.tmp.close()


@pytest.fixture
def client(worker: Worker) -> Iterator[tuple[socket.socket, Connection]]:
    """A client's end of a connection, and the worker's."""
    client, server = connected(100_000)
    with client, server:
        yield client, Connection(worker.cfg, server, ("127.0.0.1", 1), ("127.0.0.1", 2))


def send(client: tuple[socket.socket, Connection], data: bytes) -> Connection:
    ours, connection = client
    ours.sendall(data)
    while len(connection.arrival.data) < len(data):
        assert receive(connection)
    return connection


def test_a_request_is_answered_without_a_word_about_the_software(
    worker: Worker, client: tuple[socket.socket, Connection]
) -> None:
    assert worker.handle(send(client, GET)) is True

    head, _, body = client[0].recv(1_000).partition(b"\r\n\r\n")
    assert body == b"done"
    names = [line.partition(b":")[0] for line in head.split(b"\r\n")[1:]]
    assert names == [b"Date", b"Connection", b"Content-Length"]
    assert b"gunicorn" not in head


def test_a_body_that_was_not_read_hides_no_request(worker: Worker, client: tuple[socket.socket, Connection]) -> None:
    body = b"x" * 90_000  # more than gunicorn would discard
    request = POST + b"Content-Length: 90000\r\n\r\n" + body
    assert worker.handle(send(client, request + GET)) is True

    answers = client[0].recv(10_000)
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert answers.count(b"Connection: keep-alive") == 2


@pytest.mark.parametrize("field", [b"Content-Length: 9999999", b"Transfer-Encoding: chunked"])
@pytest.mark.parametrize("application", [ignore_body, echo])
def test_a_connection_ends_with_a_request_whose_body_is_not_awaited(
    worker: Worker, client: tuple[socket.socket, Connection], field: bytes, application: Application
) -> None:
    worker.wsgi = application
    connection = send(client, POST + field + b"\r\nExpect: 100-continue\r\n\r\n")

    assert worker.handle(connection) is False
    if application is ignore_body:
        answer = client[0].recv(1_000)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\nConnection: close\r\n" in answer


def test_requests_one_after_another_are_served_by_the_same_thread(
    worker: Worker, client: tuple[socket.socket, Connection]
) -> None:
    def be_asked_again(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        if environ["PATH_INFO"] != "/last":
            client[0].sendall(GET if environ["PATH_INFO"] == "/first" else GET.replace(b"/ ", b"/last "))
        return ignore_body(environ, start_response)

    worker.wsgi = be_asked_again
    assert worker.handle(send(client, GET.replace(b"/ ", b"/first "))) is True

    assert client[0].recv(10_000).count(b"200 OK") == 3
    assert worker._lingering.acquire(blocking=False)
    assert worker._lingering.acquire(blocking=False)


def test_requests_that_came_together_are_served_in_order(
    worker: Worker, client: tuple[socket.socket, Connection]
) -> None:
    worker.wsgi = echo
    requests = b"".join(POST + b"Content-Length: 1\r\n\r\n" + body for body in (b"a", b"b", b"c"))
    assert worker.handle(send(client, requests + GET[:9])) is True

    answers = client[0].recv(10_000)
    assert [part[:1] for part in answers.split(b"\r\n\r\n")[1:]] == [b"a", b"b", b"c"]
    assert bytes(client[1].arrival.data) == GET[:9]


def test_no_thread_keeps_a_request_that_is_not_whole(worker: Worker, client: tuple[socket.socket, Connection]) -> None:
    def be_asked_slowly(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        client[0].sendall(GET[:-1])
        return ignore_body(environ, start_response)

    worker.wsgi = be_asked_slowly
    assert worker.handle(send(client, GET)) is True
    assert bytes(client[1].arrival.data) == GET[:-1]
    assert client[0].recv(10_000).count(b"200 OK") == 1


@pytest.mark.parametrize("reason", ["others wait for a thread", "enough threads linger", "it is to stop"])
def test_no_thread_lingers_where_that_would_keep_others_waiting(
    worker: Worker, client: tuple[socket.socket, Connection], reason: str
) -> None:
    if reason == "others wait for a thread":
        worker.tpool._work_queue.put("another request")
    elif reason == "enough threads linger":
        worker._lingering = threading.BoundedSemaphore(1)
        worker._lingering.acquire()
    else:
        worker.alive = False
    client[0].sendall(GET)

    assert not worker._gets_next(client[1])


def test_a_thread_is_free_when_a_response_is_complete(worker: Worker, client: tuple[socket.socket, Connection]) -> None:
    large = bytes(5_000_000)

    def answer_in_pieces(_environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [("Content-Length", str(2 * len(large)))])
        return [large, large]

    worker.wsgi = answer_in_pieces
    assert worker.handle(send(client, GET + GET)) is True

    assert client[1].sock.held_bytes > 9_000_000
    assert client[1].arrival.is_whole, "its next request waits for the response to leave"


def test_tls_that_it_does_not_speak_is_refused_at_the_start() -> None:
    cfg = Config()
    cfg.set("certfile", "cert.pem")
    with pytest.raises(SystemExit, match="speaks no TLS"):
        Worker.check_config(cfg, logging.getLogger())


def test_what_was_generated_arrives_before_more_is_generated(
    worker: Worker, client: tuple[socket.socket, Connection]
) -> None:
    event = b"x" * 1_000_000  # more than the kernels take at once
    has_arrived = threading.Event()

    def generate(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"first"
        yield event
        has_arrived.wait(20)  # as a stream waits for the next event
        yield b"last"

    worker.wsgi = generate
    thread = threading.Thread(target=worker.handle, args=(send(client, GET),))
    thread.start()
    received = b""
    try:
        while received.count(b"x") < len(event):
            received += client[0].recv(65_536)
    finally:
        has_arrived.set()
        thread.join(20)


def test_a_thread_that_failed_leaves_no_connection_behind(worker: Worker) -> None:
    ended: list[tuple[Any, bool]] = []
    loop: Any = SimpleNamespace(resume=lambda connection, stays: ended.append((connection, stays)))
    worker._loop = loop
    connections: Any = ["failed", "done"]
    futures: list[Future[bool]] = [Future(), Future()]
    futures[0].set_exception(ValueError())
    futures[1].set_result(True)
    for connection, future in zip(connections, futures, strict=True):
        worker.finish_request(connection, future)

    assert ended == [("failed", False), ("done", True)]


@pytest.mark.parametrize(
    ("part", "digest"),
    [
        ("gunicorn.workers.gthread:ThreadWorker.get_thread_pool", "003f3549a71b"),
        ("gunicorn.workers.gthread:ThreadWorker.enqueue_req", "c9f428953d24"),
        ("gunicorn.workers.gthread:ThreadWorker.handle", "ca85c9be3df7"),
        ("gunicorn.workers.gthread:TConn.__init__", "c8763d7c6597"),
        ("gunicorn.workers.gthread:TConn.init", "5ff3d4ba451c"),
        ("gunicorn.workers.gthread:ThreadWorker.run", "f92c7394d857"),
        ("gunicorn.workers.gthread:ThreadWorker.accept", "f8dcead3dce5"),
        ("gunicorn.workers.gthread:ThreadWorker._keepalive_after", "4ebdbbc8bf5a"),
        ("gunicorn.workers.gthread:ThreadWorker.handle_request", "6d0de5b91910"),
        ("gunicorn.workers.gthread:ThreadWorker._cap_keepalive", "745c8ac37108"),
        ("gunicorn.http.parser:Parser", "3a9c06e348c7"),
        ("gunicorn.http.unreader:IterUnreader", "fa4b976b31bd"),
        ("gunicorn.http.unreader:Unreader", "84aaa8f91fcd"),
        ("gunicorn.http.message:Message.should_close", "37c454bfb3e3"),
        ("gunicorn.http.message:HeaderPolicy._apply_header_policy", "ac812cc2fe6b"),
        ("gunicorn.http.wsgi:create", "2c35d4a2dc62"),
        ("gunicorn.http.wsgi:Response", "d67f8e6b29d7"),
        ("gunicorn.workers.gthread:ThreadWorker.finish_request", "616e7bb15a00"),
        ("gunicorn.workers.base:Worker.handle_error", "75426448389b"),
    ],
)
def test_what_is_relied_on_has_not_changed(part: str, digest: str) -> None:
    fail_if_changed(part, digest, "Worker", module="project/web_server/gunicorn_internals.py")


def test_pythons_thread_pool_says_how_much_waits_for_a_thread() -> None:
    may_end = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(may_end.wait)
        pool.submit(may_end.wait)
        waiting = pool._work_queue.qsize()
        may_end.set()
    assert waiting >= 1
