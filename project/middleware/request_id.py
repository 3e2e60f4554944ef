"""Gives each request an id, and records on every message sent meanwhile which request and which user caused it.

Guarantee: the id is in the response's `X-Request-ID`, in the log's lines about the request and in what workers do
because of it. An id that a client or proxy proposes is kept if it is short and plain. `actors.outbox.context` carries
it on.
"""

import re
from collections.abc import Callable
from functools import partial
from uuid import uuid4

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from actors.outbox.context import Context, sent_during

HEADER = "X-Request-ID"
VARIABLE = "HTTP_X_REQUEST_ID"
# Fits the column, and cannot forge a second log line or header.
WELL_FORMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:=+/@-]{0,99}")


class RequestOrigin:
    """Middleware, outside all that may answer in a view's place, so that their responses have an id too."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request_id = request_id_of(request)
        request.request_id = request_id  # type: ignore[attr-defined]
        # DRF authenticates inside the view, and sets the user on this request: so the user is read at each send.
        with sent_during(request_id, ask=partial(_context_of, request, request_id)):
            response = self.get_response(request)
        response.headers[HEADER] = request_id
        return response


def request_id_of(request: HttpRequest) -> str:
    """Return the id that came with the request, or a new one if there was none or it is malformed."""
    # Not `request.headers`, which parses all headers to return one.
    proposed = request.META.get(VARIABLE, "")
    return proposed if WELL_FORMED.fullmatch(proposed) else uuid4().hex


def _context_of(request: HttpRequest, request_id: str) -> Context:
    user = getattr(request, "user", None)  # none yet, where a middleware answers
    if user is None or not user.is_authenticated:
        return Context(request_id=request_id)
    return Context(request_id=request_id, changed_by=user.get_username(), changed_by_id=user.pk)
