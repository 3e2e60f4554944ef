"""The root, `/`: links to everything else for programs, and for people a page with a first request in three languages.

Guarantee: it is answered without the database and without RabbitMQ. The page's script asks `/health/ready/` whether
they are there.
"""

from collections.abc import Mapping, Set
from typing import Any

from django.conf import settings
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from actors.rest.known import KnownParameters
from project.api.browsable import PageRenderer
from project.api.json import FastJSONRenderer
from project.local import demo_user

PLACES = {
    "tasks": "task-list",
    "activity": "activity",
    "token": "token_obtain_pair",
    "docs": "docs",
    "schema": "schema",
    "admin": "admin:index",
    "login": "rest_framework:login",
}


class FrontPage(PageRenderer):
    """The page that a browser gets; errors look as they do elsewhere."""

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> Any:
        assert renderer_context is not None
        if renderer_context["response"].exception:
            return super().render(data, accepted_media_type, renderer_context)
        request, demo = renderer_context["request"], settings.DEBUG
        context = {
            "languages": settings.LANGUAGES,
            "places": data,
            "demo": demo,
            "username": demo_user.USERNAME if demo else _("your username"),
            "password": demo_user.PASSWORD if demo else _("your password"),
            "management_url": settings.RABBITMQ_MANAGEMENT_URL,
        }
        return render_to_string("project/root.html", context, request)


class RootView(KnownParameters):
    """A task service: where to find the tasks, a token to reach them with, and how it all works."""

    authentication_classes = ()  # which would read the user
    permission_classes = (AllowAny,)
    renderer_classes = (FastJSONRenderer, FrontPage)

    def known_parameters(self) -> Set[str]:
        return {"lang"}

    def get_view_name(self) -> str:
        return "Vazifa"

    @extend_schema(exclude=True)
    def get(self, request: Request) -> Response:
        response = Response({name: reverse(place, request=request) for name, place in PLACES.items()})
        patch_vary_headers(response, ("Cookie",))  # which may choose the page's language
        if "lang" in request.query_params:
            language = _language_of(request)
            translation.activate(language)
            response.set_cookie(settings.LANGUAGE_COOKIE_NAME, language, secure=request.is_secure(), samesite="Lax")
        return response


def _language_of(request: Request) -> str:
    """Return the language that `lang` or the client's headers ask for, among those that there are."""
    try:
        return translation.get_supported_language_variant(request.query_params["lang"])
    except LookupError:
        return translation.get_language() or "en"
