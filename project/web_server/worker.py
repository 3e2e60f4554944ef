"""gunicorn's threaded worker, in which a client that does not hang up keeps no other waiting, and one that asks again
at once is answered by the thread that it has.

Guarantee: the thread that accepts connections and hands out requests never waits for a client. `gunicorn.conf.py` says
how long the thread of a request does.
"""

import select
import threading
from contextlib import suppress
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

LINGER_MS = 5


class Worker(ThreadWorker):
    """Ends connections where their requests were answered, in threads of which there are many.

    gunicorn's own ends them in the one thread that does all else, and waits up to two seconds for the other end: four
    clients that had asked for `Connection: close` and held on stopped a process for eight.

    And it has a thread stay for a moment with the connection that it has answered, as long as others are free: a client
    with one request after the other is served without the thread that does all else, which takes a fifth of a
    request's cost.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._places = threading.BoundedSemaphore(max(1, self.cfg.threads // 2))

    def handle(self, conn: TConn) -> Any:
        result = super().handle(conn)
        while result is True and self._asks_again(conn):
            result = super().handle(conn)
        if not result:
            # An answer that was broken off has closed its socket already.
            with suppress(OSError):
                conn.close(graceful=True)
            conn.close = _close_no_more
        return result

    def _asks_again(self, conn: TConn) -> bool:
        """Say whether the next request comes at once; nobody waits for it while others wait for a thread."""
        if not self.alive or self.tpool._work_queue.qsize() or not self._places.acquire(blocking=False):
            return False
        try:
            poll = select.poll()
            poll.register(conn.sock, select.POLLIN)
            return bool(poll.poll(LINGER_MS)) and self.alive
        finally:
            self._places.release()


def _close_no_more(graceful: bool = False) -> None:
    """Stand in for the close of a connection that is closed."""
