"""Errors as clients see them: JSON with a `detail`, in the client's language, and never a traceback."""

import logging
from typing import Any

from django.db import IntegrityError, InterfaceError, OperationalError, connection
from django.http import Http404, HttpRequest, JsonResponse, UnreadablePostError
from django.urls import is_valid_path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from rest_framework import status
from rest_framework.exceptions import APIException, NotFound, ParseError
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import exception_handler

from actors.rest import time_limit
from project.api.authentication import gone

logger = logging.getLogger(__name__)

# SQLSTATE of a write to a standby, or to a primary that became one.
READ_ONLY = "25006"
MAX_LOGGED = 500  # characters of an address


class DatabaseUnavailable(APIException):
    """Raised when the database does not answer; nothing was changed, and the same request may succeed later."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = gettext_lazy("The database is not available. Try again in a few seconds.")
    default_code = "database_unavailable"
    wait = 5  # seconds, sent as Retry-After


class QueryTimeout(APIException):
    """Raised when a statement was stopped because the request asks for too much, or waited for a lock for too long."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "query_timeout"
    wait = 30  # seconds, sent as Retry-After

    @classmethod
    def of(cls, request: HttpRequest | Request) -> "QueryTimeout":
        """Log that a request was stopped, and return the error to answer it with."""
        address = request.get_full_path()[:MAX_LOGGED]
        logger.warning("stopped after %g s in the database: %s %s", time_limit.current(), request.method, address)
        detail = _(
            "This request took the database longer than %(seconds)g seconds and was stopped. Ask for less, such as a "
            "search for rarer words, or try again later."
        )
        return cls({"detail": detail % {"seconds": time_limit.current()}, "code": cls.default_code})


def handle_exception(error: Exception, context: dict[str, Any]) -> Response | None:
    """Answer `error` as DRF does, and an unavailable database with 503."""
    if isinstance(error, Http404):
        error = NotFound()  # Django's own text names the model, in English
    if isinstance(error, UnreadablePostError):
        error = ParseError()  # the client aborted its request: not an error of the service
    is_too_costly = time_limit.is_exceeded(error)
    is_read_only = getattr(error.__cause__, "sqlstate", None) == READ_ONLY
    if is_too_costly or is_read_only or isinstance(error, (InterfaceError, OperationalError)):
        if is_too_costly:
            error = QueryTimeout.of(context["request"])
        else:
            logger.error("database unavailable", exc_info=error)
            error = DatabaseUnavailable()
        if is_read_only:  # the connection works, and Django would keep it
            connection.close()
        # The browsable API would read the user from the database again.
        request: Request = context["request"]
        request.accepted_renderer, request.accepted_media_type = JSONRenderer(), JSONRenderer.media_type
    if isinstance(error, IntegrityError) and (refusal := gone(context["request"])) is not None:
        error = refusal
        error.auth_header = context["view"].get_authenticate_header(context["request"])  # type: ignore[attr-defined]
    return exception_handler(error, context)


def bad_request(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Answer a request that Django itself refuses: for an unknown host, or with too many parameters."""
    return JsonResponse({"detail": ParseError.default_detail}, status=400)


def not_found(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Answer an unknown address; say so if only its last slash is missing."""
    detail = _("Not found.")
    if request.resolver_match is None and is_valid_path(f"{request.path_info}/"):
        detail = _("Not found. The address ends with a slash: %(address)s.") % {"address": f"{request.path}/"}
    return JsonResponse({"detail": detail}, status=404)


def server_error(request: HttpRequest) -> JsonResponse:
    """Answer an error of the service, whose traceback is in the log."""
    return JsonResponse({"detail": APIException.default_detail}, status=500)
