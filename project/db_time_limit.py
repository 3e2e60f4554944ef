"""Bounds how long the database works for a request, and answers the ones that ask for more.

Guarantee: such a request is a 503 with a sentence and the code `query_timeout`, wherever its statement was, and a
WARNING of the log with its address; its database connection is kept. `actors.rest.time_limit` sets the limit.
"""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.signals import request_finished, request_started
from django.db.backends.signals import connection_created
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase

from actors.rest import time_limit
from project.api.errors import QueryTimeout


class CostlyRequests:
    """Middleware: answers the requests of the admin and of Django's own views. The API's errors are answered by DRF."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> JsonResponse | None:
        if not time_limit.is_exceeded(exception):
            return None
        error = QueryTimeout.of(request)
        return JsonResponse(error.detail, status=error.status_code, headers={"Retry-After": str(error.wait)})


def begin(**_signal: Any) -> None:
    time_limit.begin(settings.REQUEST_STATEMENT_SECONDS)


def end(**_signal: Any) -> None:
    time_limit.end()


def connect_signals() -> None:
    """Limit requests from their first statement to their last."""
    request_started.connect(begin, dispatch_uid="project.db_time_limit")
    request_finished.connect(end, dispatch_uid="project.db_time_limit")
    connection_created.connect(time_limit.limit_new, dispatch_uid="project.db_time_limit")
