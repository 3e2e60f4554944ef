"""gunicorn's threaded worker, with connections closed, and next requests waited for, in the threads of requests.

Guarantee: the main thread, which accepts connections and hands out requests, never waits for a client: one that does
not hang up delays no other. `gunicorn.conf.py` limits how long the thread of a request waits.

Written against gunicorn 27.0.1, of which it uses more than is documented: a pool's threads call `ThreadWorker.handle`
for each request that is due on a `TConn`, and return whether the connection stays; if not, the main thread calls its
`close`. Of `tpool`, Python's `ThreadPoolExecutor`, it asks `_work_queue` whether requests wait for a thread.
`tests/unit/project/web_server/test_gunicorn_internals.py` fails when one of these changes, and says what to look at.
"""

import select
import threading
from contextlib import suppress
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

LINGER_MS = 5


class Worker(ThreadWorker):
    """Closes each connection in the thread that answered its request.

    gunicorn closes connections in its main thread, and waits up to two seconds for the other end: four clients that had
    asked for `Connection: close` and did not hang up stopped a process for eight seconds.

    A thread also waits up to `LINGER_MS` for the next request on the connection that it has answered, unless requests
    wait for a thread or half of the threads linger already. A client that sends one request after another is then
    served without passing through the main thread, which costs a fifth of a request.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._places = threading.BoundedSemaphore(max(1, self.cfg.threads // 2))

    def handle(self, conn: TConn) -> Any:
        result = super().handle(conn)
        while result is True and self._asks_again(conn):
            result = super().handle(conn)
        if not result:
            # A response that broke off has closed its socket already.
            with suppress(OSError):
                conn.close(graceful=True)
            conn.close = _close_no_more
        return result

    def _asks_again(self, conn: TConn) -> bool:
        """Return whether the next request comes at once; do not wait for it while others wait for a thread."""
        if not self.alive or self.tpool._work_queue.qsize() or not self._places.acquire(blocking=False):
            return False
        try:
            poll = select.poll()
            poll.register(conn.sock, select.POLLIN)
            return bool(poll.poll(LINGER_MS)) and self.alive
        finally:
            self._places.release()


def _close_no_more(graceful: bool = False) -> None:
    """Replace the `close` of a connection that is closed already."""
