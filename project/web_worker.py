"""gunicorn's threaded worker, in which a client that does not hang up keeps no other waiting.

Guarantee: the thread that accepts connections and hands out requests never waits for a client. `gunicorn.conf.py` says
how long the thread of a request does.
"""

from contextlib import suppress
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker


class Worker(ThreadWorker):
    """Ends connections where their requests were answered, in threads of which there are many.

    gunicorn's own ends them in the one thread that does all else, and waits up to two seconds for the other end: four
    clients that had asked for `Connection: close` and held on stopped a process for eight.
    """

    def handle(self, conn: TConn) -> Any:
        result = super().handle(conn)
        if not result:
            # An answer that was broken off has closed its socket already.
            with suppress(OSError):
                conn.close(graceful=True)
            conn.close = _close_no_more
        return result


def _close_no_more(graceful: bool = False) -> None:
    """Stand in for the close of a connection that is closed."""
