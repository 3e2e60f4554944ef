"""gunicorn's threaded worker with another main loop, and what else is made of gunicorn's private parts.

Guarantee: a thread gets a request when it is whole (`Loop`), and never reads from a client: a body that the service
refuses unread, because it is too large or of unknown length, appears empty, and the connection ends with the response.

Written against gunicorn 27.0.1, of which it uses more than is documented: `ThreadWorker.run` calls `accept`,
`murder_pending` and `_cap_keepalive`, whose connections are here in `Loop`; `enqueue_req` has a thread call `handle`
for a connection and the main loop then `finish_request`; `handle` takes a connection's `parser` and calls
`handle_request` and `_keepalive_after`. The parser reads from its `unreader`. `wsgi.create` makes a `wsgi.Response`;
`handle_error` answers by `util.write_error`, an `InvalidHeader` with a 400 that has its text. Of `tpool`, Python's
`ThreadPoolExecutor`, the worker asks `_work_queue` whether requests wait for a thread.
`tests/unit/project/web_server/test_gunicorn_internals.py` fails when one of these changes, and says what to look at.
"""

import errno
import select
import sys
import threading
from concurrent.futures import Future
from typing import Any

from gunicorn import util
from gunicorn.http import get_parser, wsgi
from gunicorn.http.errors import InvalidHeader
from gunicorn.workers.gthread import TConn, ThreadWorker

from project.web_server.arrival import Arrival
from project.web_server.client_socket import ClientSocket
from project.web_server.loop import Loop, receive
from project.web_server.refusals import refusal
from settings.api import MAX_BODY_BYTES

LINGER_MS = 5


class MissingHost(InvalidHeader):
    """Raised when a request of HTTP/1.1 does not say whom it asks (RFC 9112, section 3.2)."""

    def __str__(self) -> str:
        return "An HTTP/1.1 request needs a Host header."


class Connection(TConn):
    """A client's connection, whose parser reads what has arrived and nothing else."""

    def __init__(self, cfg: Any, sock: ClientSocket, client: Any, server: Any) -> None:
        super().__init__(cfg, sock, client, server)
        self.arrival = Arrival(max_body=MAX_BODY_BYTES)
        self.parser = get_parser(cfg, (), client)
        self.initialized = self.data_ready = True

    def hand_over(self) -> None:
        """Give the parser what has arrived."""
        self.parser.unreader.unread(self.arrival.data)
        self.arrival.data = b""

    def await_next(self) -> None:
        """Take back what the parser has not read, the beginning of the next request."""
        self.arrival = Arrival(max_body=MAX_BODY_BYTES)
        if rest := self.parser.unreader.take_buffered():
            self.arrival.add(rest)


class Response(wsgi.Response):
    """Names no software, and waits for a client only if its length is unknown: if it is generated while it is sent."""

    sock: ClientSocket

    headers_sent: bool

    def default_headers(self) -> list[str]:
        headers: list[str] = super().default_headers()
        del headers[1]  # Server
        return headers

    def send_headers(self) -> None:
        if not self.headers_sent:
            lines = self.default_headers() + [f"{name}: {value}\r\n" for name, value in self.headers]
            self.sock.send_with_next(("".join(lines) + "\r\n").encode("latin-1"))
            self.headers_sent = True

    def close(self) -> None:
        self.send_headers()
        self.sock.send_or_hold(b"0\r\n\r\n" if self.chunked else b"")

    def _emit_body(self, data: bytes) -> None:
        if self.response_length is not None:
            self.sock.send_or_hold(data)
            return
        super()._emit_body(data)
        if self.sent > len(data):
            # Not its first piece, so it is generated: the next one may come much later, and nothing is sent meanwhile.
            self.sock.wait()


def write_error(sock: ClientSocket, status: int, reason: str, detail: str) -> None:
    """Answer a request that is no HTTP; gunicorn's own response is a page of HTML with parts of the request."""
    sock.send_or_hold(refusal(f"{status} {reason}", f"{detail or reason}\n"))


class Worker(ThreadWorker):
    """Serves whole requests in its threads, and leaves all that waits for clients to `Loop`.

    A thread waits up to `LINGER_MS` for the next request on the connection that it has answered, unless requests wait
    for a thread or half of the threads linger already. A client that sends one request after another is then served
    without passing through the main loop, which costs a fifth of a request.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lingering = threading.BoundedSemaphore(max(1, self.cfg.threads // 2))
        # gunicorn stops accepting at this number, so that others queue unseen; `Loop` makes room for each.
        self.worker_connections = self.cfg.worker_connections + 1
        wsgi.Response = Response
        util.write_error = write_error

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        if cfg.is_ssl:
            # gunicorn would begin TLS in a thread; here the requests would be read, and believed, as plain https.
            sys.exit(
                "This server speaks no TLS. Leave out certfile and keyfile, and put a proxy before it: deploy/nginx."
            )
        super().check_config(cfg, log)

    def run(self) -> None:
        self._loop = Loop(
            self.poller,
            serve=self.enqueue_req,
            forget=self._forget,
            max_connections=self.cfg.worker_connections,
            idle_seconds=self.cfg.keepalive,
        )
        super().run()

    # -- in the main loop ---------------------------------------------------------------------------------------------

    def accept(self, listener: Any) -> None:
        try:
            sock, client = listener.accept()
        except OSError as error:
            if error.errno in {errno.EMFILE, errno.ENFILE}:
                self._loop.make_room()
            elif error.errno not in {errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK}:
                raise
            return
        self.nr_conns += 1
        self._loop.admit(Connection(self.cfg, ClientSocket.of(sock), client, listener.getsockname()))

    def finish_request(self, conn: Connection, fs: Future[bool]) -> None:
        self._loop.resume(conn, stays=not fs.cancelled() and fs.exception() is None and fs.result())

    def murder_pending(self) -> None:
        self._loop.sweep()

    def _cap_keepalive(self, deadline: float) -> None:
        self._loop.limit_idle(deadline)

    def _forget(self) -> None:
        self.nr_conns -= 1

    # -- in a thread --------------------------------------------------------------------------------------------------

    def handle(self, conn: Connection) -> bool:
        while self._answer(conn):
            conn.await_next()
            if conn.sock.held or not self._gets_next(conn):
                return True
        return False

    def handle_request(self, req: Any, conn: Connection) -> Any:
        if req.version >= (1, 1) and all(name != "HOST" for name, _value in req.headers):
            raise MissingHost("HOST", req)
        req._expected_100_continue = False  # `Loop` has sent it, if the client waited for it
        if not conn.arrival.has_body:
            req.force_close()
        return super().handle_request(req, conn)

    def _answer(self, conn: Connection) -> bool:
        conn.hand_over()
        return bool(super().handle(conn))

    def _keepalive_after(self, conn: Connection, keepalive: Any) -> bool:
        if keepalive:
            conn.parser.mesg.body.read()  # what the service left unread; it is in memory
            conn.parser.mesg = None  # so that the parser need not look again, a kilobyte at a time
        return bool(keepalive)

    def _gets_next(self, conn: Connection) -> bool:
        """Return whether the next request is there at once; do not wait for it while others wait for a thread."""
        if not self.alive or self.tpool._work_queue.qsize():
            return False
        if not conn.arrival.is_whole and self._lingering.acquire(blocking=False):
            try:
                poll = select.poll()
                poll.register(conn.sock, select.POLLIN)
                if poll.poll(LINGER_MS):
                    receive(conn)
            finally:
                self._lingering.release()
        return conn.arrival.is_whole and self.alive
