"""The middleware around every view: request id and origin, limits, HEAD, languages, unknown addresses, errors.

Guarantees: a request's id is in the response's `X-Request-ID`, in the log lines about the request, and in what workers
log and write because of it (`actors.outbox.context`). A program is answered in JSON, in development too; no write is
redirected, because that would lose its body.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.contrib.messages.middleware import MessageMiddleware
from django.http import Http404, HttpRequest, HttpResponse, HttpResponsePermanentRedirect, JsonResponse
from django.http.response import HttpResponseBase, StreamingHttpResponse
from django.middleware.common import CommonMiddleware
from django.middleware.locale import LocaleMiddleware
from django.utils import translation
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext as _
from rest_framework.exceptions import ParseError
from rest_framework.response import Response

from actors.outbox.context import Context, sent_during
from actors.rest import time_limit
from project import health
from project.accounts import refusals
from project.api.errors import QueryTimeout, not_found

GetResponse = Callable[[HttpRequest], HttpResponseBase]

HEADER = "X-Request-ID"
# An id that a client or proxy proposes: it has to fit the column, and must not forge a log line or a header.
WELL_FORMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:=+/@-]{0,99}")
MAX_DIGITS = 18
UNCOMPRESSED = {"", "identity"}  # as Content-Encoding


class BodilessHead:
    """HEAD: the headers of GET, Content-Length among them, and no body. Before all that answers."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if request.method == "HEAD":
            if isinstance(response, StreamingHttpResponse):
                response.streaming_content = ()  # the original stream is closed with the response
            elif isinstance(response, HttpResponse):
                response.headers.setdefault("Content-Length", str(len(response.content)))
                response.content = b""
        return response


class RequestOrigin:
    """Gives a request its id, and records request and user as the origin of the messages that it sends.

    It is outside all middleware that may answer in a view's place, so their responses have an id too.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        # Not `request.headers`, which parses all headers to return one.
        proposed = request.META.get("HTTP_X_REQUEST_ID", "")
        request_id = proposed if WELL_FORMED.fullmatch(proposed) else uuid4().hex
        request.request_id = request_id  # type: ignore[attr-defined]
        # DRF authenticates inside the view and then sets the user on this request, so the user is read at each send.
        with sent_during(request_id, ask=partial(_context_of, request, request_id)):
            response = self.get_response(request)
        response.headers[HEADER] = request_id
        return response


def _context_of(request: HttpRequest, request_id: str) -> Context:
    user = getattr(request, "user", None)  # not set yet if a middleware answers
    if user is None or not user.is_authenticated:
        return Context(request_id=request_id)
    return Context(request_id=request_id, changed_by=user.get_username(), changed_by_id=user.pk)


class RequestLimits:
    """Refuses, before a view reads them, bodies that are too large, of unknown length, compressed or not in UTF-8.

    Django's own limit covers forms only: DRF's parsers read a body of any size as a stream. And Django reads a chunked
    body, which has no length, as an empty one.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self._refusal(request) or self.get_response(request)

    def _refusal(self, request: HttpRequest) -> HttpResponse | None:
        length = request.META.get("CONTENT_LENGTH") or "0"
        if not re.fullmatch("[0-9]+", length):
            return JsonResponse({"detail": ParseError.default_detail}, status=400)
        if len(length) > MAX_DIGITS or int(length) > settings.MAX_BODY_BYTES:
            detail = _("The request body is larger than %(limit)d bytes.") % {"limit": settings.MAX_BODY_BYTES}
            return JsonResponse({"detail": detail}, status=413)
        if "HTTP_TRANSFER_ENCODING" in request.META and "CONTENT_LENGTH" not in request.META:
            return JsonResponse({"detail": _("Send the length of the body, not the body in chunks.")}, status=411)
        codings = request.META.get("HTTP_CONTENT_ENCODING", "").lower().split(",")
        if not {coding.strip() for coding in codings} <= UNCOMPRESSED:
            detail = _("Send the body uncompressed: no Content-Encoding is understood.")
            return JsonResponse({"detail": detail}, status=415, headers={"Accept-Encoding": "identity"})
        charset = (request.content_params or {}).get("charset", "utf-8")
        if charset.strip("\"'").lower() not in ("utf-8", "utf8"):
            return JsonResponse({"detail": _("Send text as UTF-8.")}, status=415)
        return None


class PageErrors:
    """Answers errors of views that are not DRF's: a refused attempt to sign in, a request that cost too much."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if isinstance(exception, refusals.LoginRefused):
            return refusals.answer(request, exception)
        if time_limit.is_exceeded(exception):
            error = QueryTimeout.of(request)
            return JsonResponse(error.detail, status=error.status_code, headers={"Retry-After": str(error.wait)})
        return None


class Addresses(CommonMiddleware):
    """Django's CommonMiddleware, except that programs get JSON instead of HTML, and writes are not redirected."""

    def process_request(self, request: HttpRequest) -> HttpResponsePermanentRedirect | None:
        is_probe = request.path_info.startswith(f"/{health.ADDRESS}")
        return None if is_probe else super().process_request(request)  # which checks the host

    def should_redirect_with_slash(self, request: HttpRequest) -> bool:
        return request.method in ("GET", "HEAD") and super().should_redirect_with_slash(request)

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        is_html = response.get("Content-Type", "").startswith("text/html")
        if response.status_code == 404 and is_html and "text/html" not in request.headers.get("Accept", ""):
            response = not_found(request, Http404())
        return super().process_response(request, response)


class Languages(LocaleMiddleware):
    """Django's LocaleMiddleware without its search for a language in the address: addresses have none."""

    def process_request(self, request: HttpRequest) -> None:
        request.LANGUAGE_CODE = translation.get_language_from_request(request)
        translation.activate(request.LANGUAGE_CODE)

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        patch_vary_headers(response, ("Accept-Language",))
        response.headers.setdefault("Content-Language", translation.get_language())
        return response


class Messages(MessageMiddleware):
    """Django's MessageMiddleware for browsers: requests with a token get no storage of messages."""

    def process_request(self, request: HttpRequest) -> None:
        if "HTTP_AUTHORIZATION" not in request.META:
            super().process_request(request)


class ReleasedViews:
    """Clears a view's references once its response is rendered, so that no garbage collection has to find them.

    A view, its request, its response and the handlers that DRF binds to it refer to one another: some 95 objects a
    request that reference counting never frees (docs/decisions/0017-what-a-request-is-spared.md).
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_template_response(self, request: HttpRequest, response: Any) -> Any:
        if isinstance(response, Response):
            response.add_post_render_callback(_clear_references)
        return response


def _clear_references(response: Response) -> None:
    context = getattr(response, "renderer_context", None)
    if context is None:  # from Django's cache, rendered earlier
        return
    vars(context["view"]).clear()
    context["request"].parser_context.clear()
    context.clear()
