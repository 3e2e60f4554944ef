"""Unknown addresses, and those that lack their last slash.

Guarantee: a program is answered in JSON, in development too; no write is redirected, because that would lose its body.
"""

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.common import CommonMiddleware

from project.api.errors import not_found


class Addresses(CommonMiddleware):
    """Django's CommonMiddleware, which alone would answer programs with HTML, and redirect writes."""

    def should_redirect_with_slash(self, request: HttpRequest) -> bool:
        return request.method in ("GET", "HEAD") and super().should_redirect_with_slash(request)

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if response.status_code == 404 and _is_html(response) and not _asks_for_html(request):
            response = not_found(request, Http404())
        return super().process_response(request, response)


def _is_html(response: HttpResponseBase) -> bool:
    return response.get("Content-Type", "").startswith("text/html")


def _asks_for_html(request: HttpRequest) -> bool:
    return "text/html" in request.headers.get("Accept", "")
