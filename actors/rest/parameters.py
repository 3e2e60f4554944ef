"""The query parameters of both APIs and of the token endpoints: each is known, has a value, and is given once."""

from collections.abc import Set
from typing import Any

from django.utils.translation import gettext as _
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.views import APIView

PAGE = "api"
"""The format of the browsable API's pages."""


class KnownParameters(APIView):
    """A view that refuses every query parameter but its own and `format`."""

    def known_parameters(self) -> Set[str]:
        """Return the names of its parameters, without `format`."""
        return frozenset()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        # A method that there is not is refused as such.
        if request.META.get("QUERY_STRING") and request.method in self.allowed_methods:
            require_known(request, self.known_parameters())


def require_known(request: Request, names: Set[str]) -> None:
    """Require that all query parameters are known: DRF would ignore any other.

    On a page of the browsable API an empty parameter is none, because its form of filters sends every field; and its
    other forms are sent to the page's own address, with the parameters of what it shows.

    Args:
        request: after content negotiation.
        names: of the parameters that there are, besides `format`.

    Raises:
        ValidationError: a parameter is unknown, has no value, or is given twice.
    """
    is_page = request.accepted_renderer.format == PAGE
    if is_page and request.method not in {"GET", "HEAD"}:
        return
    known = names | {str(api_settings.URL_FORMAT_OVERRIDE)}
    errors = {}
    for name, values in request.query_params.lists():
        if name not in known:
            message = _("There is no such parameter. Known are: %(known)s.")
            errors[name] = [message % {"known": ", ".join(sorted(known))}]
        elif len(values) > 1:
            errors[name] = [_("Give the parameter once.")]
        elif not is_page and not values[0].strip():
            errors[name] = [_("Give the parameter a value, or leave it out.")]
    if errors:
        raise ValidationError(errors)
