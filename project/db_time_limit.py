"""Bounds how long the database works for a request.

Guarantee: one that asks for more is a 503 with a sentence and the code `query_timeout`, wherever its statement was, and
a WARNING of the log with its address; its database connection is kept. `actors.rest.time_limit` sets the limit,
`project.api.errors` and `project.middleware.PageErrors` answer.
"""

from typing import Any

from django.conf import settings
from django.core.signals import request_finished, request_started
from django.db.backends.signals import connection_created

from actors.rest import time_limit


def begin(**_signal: Any) -> None:
    time_limit.begin(settings.REQUEST_STATEMENT_SECONDS)


def end(**_signal: Any) -> None:
    time_limit.end()


def connect_signals() -> None:
    """Limit requests from their first statement to their last."""
    request_started.connect(begin, dispatch_uid="project.db_time_limit")
    request_finished.connect(end, dispatch_uid="project.db_time_limit")
    connection_created.connect(time_limit.limit_new, dispatch_uid="project.db_time_limit")
