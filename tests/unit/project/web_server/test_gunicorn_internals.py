"""The web server's main thread never waits for a client, and no other thread lingers while requests wait for one."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.workers.gthread import ThreadWorker

from project.web_server.gunicorn_internals import Worker
from tests.internals import fail_if_changed


class Connection(SimpleNamespace):
    """Counts how often it is closed, and may be closed already."""

    closed = 0
    is_broken = False

    def close(self, graceful: bool = False) -> None:
        self.closed += 1
        if self.is_broken:
            raise OSError(9, "Bad file descriptor")


@pytest.fixture
def worker() -> Worker:
    """A worker of four threads, none of them started."""
    worker = Worker.__new__(Worker)
    worker.alive = True
    worker.tpool = SimpleNamespace(_work_queue=SimpleQueue[Any]())
    worker._places = threading.BoundedSemaphore(2)
    return worker


@pytest.fixture
def client() -> Iterator[tuple[socket.socket, Connection]]:
    """A client's end of a connection, and the worker's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, Connection(sock=theirs)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The connections that gunicorn has served, all kept open; serving one reads the bytes that were sent."""
    served: list[Any] = []

    def serve(_worker: Worker, connection: Any) -> bool:
        served.append(connection.sock.recv(100))
        return True

    monkeypatch.setattr(ThreadWorker, "handle", serve)
    return served


@pytest.mark.parametrize("is_broken", [False, True])
@pytest.mark.parametrize(("stays_open", "times"), [(False, 1), (True, 0)])
def test_a_connection_is_closed_once_where_its_request_was_answered(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, is_broken: bool, stays_open: bool, times: int
) -> None:
    monkeypatch.setattr(ThreadWorker, "handle", lambda worker, connection: stays_open)
    connection: Any = Connection(is_broken=is_broken)
    worker.alive = False

    assert worker.handle(connection) is stays_open
    assert connection.closed == times
    if not stays_open:
        connection.close(graceful=True)  # as gunicorn's one thread does afterwards
        assert connection.closed == 1


def test_who_asks_again_at_once_is_served_by_the_same_thread(
    worker: Worker, client: tuple[socket.socket, Any], served: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, connection = client
    serve = ThreadWorker.handle

    def serve_and_be_asked(one: Worker, its: Any) -> Any:
        result = serve(one, its)
        if len(served) < 3:
            ours.send(b"again")
        return result

    ours.send(b"first")
    monkeypatch.setattr(ThreadWorker, "handle", serve_and_be_asked)

    assert worker.handle(connection) is True
    assert served == [b"first", b"again", b"again"]
    assert worker._places.acquire(blocking=False)
    assert worker._places.acquire(blocking=False)


@pytest.mark.parametrize("reason", ["others wait for a thread", "enough threads linger", "it is to stop"])
def test_no_thread_lingers_where_that_would_keep_others_waiting(
    worker: Worker, client: tuple[socket.socket, Any], served: list[Any], reason: str
) -> None:
    ours, connection = client
    if reason == "others wait for a thread":
        worker.tpool._work_queue.put("another request")
    elif reason == "enough threads linger":
        worker._places = threading.BoundedSemaphore(1)
        worker._places.acquire()
    else:
        worker.alive = False
    ours.send(b"first")

    def asks_again() -> bool:
        ours.send(b"again")
        return worker._asks_again(connection)

    assert worker.handle(connection) is True
    assert served == [b"first"]
    assert not asks_again()


@pytest.mark.parametrize(
    ("part", "digest"),
    [
        ("gunicorn.workers.gthread:TConn.close", "6d1c334ed197"),
        ("gunicorn.workers.gthread:ThreadWorker.get_thread_pool", "003f3549a71b"),
        ("gunicorn.workers.gthread:ThreadWorker.enqueue_req", "c9f428953d24"),
        ("gunicorn.workers.gthread:ThreadWorker.handle", "ca85c9be3df7"),
        ("gunicorn.workers.gthread:ThreadWorker.finish_request", "616e7bb15a00"),
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
