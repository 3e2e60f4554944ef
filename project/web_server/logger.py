"""The web server's own log: a short line for a request if that is wanted, and no work at all if not.

Its lines are like all others (`settings/logging.py`): gunicorn's format takes apart the whole request and its
environment before anybody asks whether the line is written, a fifth to a third of what it costs to serve one.
"""

import logging
import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from gunicorn.glogging import Logger

REQUEST_ID = "x-request-id"


class WebLogger(Logger):
    """gunicorn's logger, but for the form of two kinds of line."""

    def access(self, resp: Any, req: Any, environ: Mapping[str, Any], request_time: timedelta) -> None:
        if not self.access_log.isEnabledFor(logging.INFO):
            return
        self.access_log.info(
            "%s %s %s %dms %s request_id=%s",
            environ.get("REQUEST_METHOD", "-"),
            environ.get("RAW_URI", "-"),
            str(resp.status).partition(" ")[0],
            request_time // timedelta(milliseconds=1),
            environ.get("REMOTE_ADDR", "-"),
            next((value for name, value in resp.headers if name.lower() == REQUEST_ID), "-"),
        )

    def exception(self, msg: str, *args: Any, **kwargs: Any) -> None:
        if isinstance(sys.exc_info()[1], BlockingIOError):
            # The sockets' own time limit (`gunicorn.conf.py`). No fault of ours, and nothing to be read in a traceback.
            self.error_log.info("A client neither sent nor read anything for too long: its connection is closed")
        else:
            super().exception(msg, *args, **kwargs)
