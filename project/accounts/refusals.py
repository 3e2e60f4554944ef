"""Why an attempt to sign in is refused before its password is checked, and how that is answered.

In a view of the API, DRF answers the error. For views that are not DRF's, such as the admin's login, the middleware
calls `answer`.
"""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from rest_framework import status
from rest_framework.exceptions import APIException


class LoginRefused(APIException):
    """Raised in place of checking a password. DRF sends `wait`, seconds, as Retry-After."""

    def __init__(self, text: str, wait: int) -> None:
        super().__init__({"detail": text, "code": self.default_code})
        self.text, self.wait = text, wait


class TooManyAttempts(LoginRefused):
    """Raised for an attempt that is one too many."""

    status_code = status.HTTP_429_TOO_MANY_REQUESTS
    default_code = "too_many_attempts"

    def __init__(self, wait: int, *, limit: str, row: Any) -> None:
        """The error of one attempt.

        Args:
            wait: the seconds after which an attempt may pass.
            limit: the name of the limit.
            row: the row that exceeds it (`login_limits.Count`).
        """
        text = _("Too many attempts to sign in. Try again in %(seconds)d seconds.") % {"seconds": wait}
        super().__init__(text, wait)
        self.limit, self.row = limit, row


class LoginBusy(LoginRefused):
    """Raised while this process checks as many passwords as it may at once."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "login_busy"

    def __init__(self) -> None:
        super().__init__(_("Many users are signing in at this moment. Try again in a few seconds."), wait=2)


def answer(request: HttpRequest, refusal: LoginRefused) -> HttpResponse:
    """Answer a refused attempt: browsers with a page, programs as the API does."""
    response: HttpResponse
    if "text/html" in request.headers.get("Accept", ""):
        site = {"site_title": admin.site.site_title, "site_header": admin.site.site_header}
        context = {**site, "title": _("Log in"), "text": refusal.text}
        response = render(request, "accounts/login_refused.html", context, status=refusal.status_code)
    else:
        response = JsonResponse(refusal.detail, status=refusal.status_code)
    response.headers["Retry-After"] = str(refusal.wait)
    return response
