"""Sessions, the user of a session, and messages: for browsers only. API requests with a token skip them.

Guarantee: a request with a token is authenticated by that token or not at all, never by a session.
"""

from typing import Any

from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest
from django.utils.deprecation import MiddlewareMixin

API = ("/tasks/", "/activity/")
SCHEME = "Bearer "


def has_token(request: HttpRequest) -> bool:
    """Say whether a request is one to the API with a token in its header, good or bad."""
    return request.META.get("HTTP_AUTHORIZATION", "").startswith(SCHEME) and request.path_info.startswith(API)


class ForBrowsers(MiddlewareMixin):
    """Mixin for a middleware: requests with a token skip it."""

    def __call__(self, request: HttpRequest) -> Any:
        return self.get_response(request) if has_token(request) else super().__call__(request)


class Sessions(ForBrowsers, SessionMiddleware):
    pass


class Authentication(ForBrowsers, AuthenticationMiddleware):
    pass


class Messages(ForBrowsers, MessageMiddleware):
    pass
