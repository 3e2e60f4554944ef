"""Refuses, before a view reads them, bodies that are too large or of unknown length, and encodings other than UTF-8.

Django's own limit covers forms only: DRF's parsers read the request as a stream, whatever its size. And Django takes a
chunked body, which has no length, for an empty one.
"""

import re
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.translation import gettext as _
from rest_framework.exceptions import ParseError

MAX_DIGITS = 18


class RequestLimits:
    """Middleware that answers 400, 411, 413 and 415 before a body is read."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
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
        charset = (request.content_params or {}).get("charset", "utf-8")
        if charset.strip("\"'").lower() not in ("utf-8", "utf8"):
            return JsonResponse({"detail": _("Send text as UTF-8.")}, status=415)
        return None
