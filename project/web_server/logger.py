"""The web server's log: a short line for each request if the access log is on, and no work at all if it is off.

Its lines have the format of all others (`settings/logging.py`). gunicorn's own access log parses the request and its
environment before it checks whether the line is written, which costs a fifth to a third of a request.
"""

import logging
import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from gunicorn.glogging import Logger

from project.web_server.client_socket import ClientTooSlow

REQUEST_ID = "x-request-id"


class WebLogger(Logger):
    """gunicorn's logger, with another access line and another line for a silent client."""

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
        if isinstance(sys.exc_info()[1], ClientTooSlow):
            # Not an error of the service, and a traceback would not help.
            self.error_log.info("A client read its response too slowly: its connection is closed")
        else:
            super().exception(msg, *args, **kwargs)
