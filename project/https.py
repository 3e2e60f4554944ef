"""Demands https, where SECURE_SSL_REDIRECT is on: plain http is redirected if nothing is lost by that, else refused.

Guarantee: a request over http that carries credentials is never redirected. What it carried has been readable on its
way, and a redirect would hide that: its sender would go on sending it in the clear before each redirect. A write is not
redirected either, because that would lose its body.
"""

from collections.abc import Callable

from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest, HttpResponsePermanentRedirect, JsonResponse
from django.http.response import HttpResponseBase
from django.utils import translation
from django.utils.translation import gettext as _

from project import health

CODE = "https_required"


class RequireHttps:
    """Redirects or refuses requests over http, in place of Django's SecurityMiddleware, which redirects all of them.

    Health probes come over http. All login doors take POST.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        if not settings.SECURE_SSL_REDIRECT:
            raise MiddlewareNotUsed
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.is_secure() or request.path_info.startswith(f"/{health.ADDRESS}"):
            return self.get_response(request)
        host = settings.SECURE_SSL_HOST or request.get_host()
        if request.method in ("GET", "HEAD") and not _carries_credentials(request):
            return HttpResponsePermanentRedirect(f"https://{host}{request.get_full_path()}")
        with translation.override(translation.get_language_from_request(request)):
            detail = _(
                "Use https: others can read what is sent over http. Replace a password or token that you have sent."
            )
        return JsonResponse({"detail": detail, "code": CODE}, status=403)


def _carries_credentials(request: HttpRequest) -> bool:
    return "HTTP_AUTHORIZATION" in request.META or settings.SESSION_COOKIE_NAME in request.COOKIES
