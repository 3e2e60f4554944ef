"""Headers that say what a page may do in the browser; SecurityMiddleware sends those that every response has.

Guarantee: no HTML page runs a script that stands in the page itself, or that comes from elsewhere.
"""

from collections.abc import Callable, Mapping

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

# Django's pages for developers, which are made of scripts and styles of their own.
DEBUG_PAGES = (404, 500)


class PageHeaders:
    """Sends Content-Security-Policy and Permissions-Policy with HTML; other responses cost a look at their type.

    `SECURE_CSP` has the form that it has in Django 6.0, whose ContentSecurityPolicyMiddleware can then replace this.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        self.headers = {
            "Content-Security-Policy": _policy(settings.SECURE_CSP),
            "Permissions-Policy": settings.PERMISSIONS_POLICY,
        }

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        is_page = response.headers.get("Content-Type", "").startswith("text/html")
        if is_page and not (settings.DEBUG and response.status_code in DEBUG_PAGES):
            for name, value in self.headers.items():
                response.headers.setdefault(name, value)
        return response


def _policy(directives: Mapping[str, list[str]]) -> str:
    return "; ".join(f"{name} {' '.join(sources)}" for name, sources in directives.items())
