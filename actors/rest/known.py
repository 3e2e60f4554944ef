"""What a request may name: query parameters that are known, have a value and are given once; fields that there are.

Both APIs, the token endpoints and the root refuse all else, which DRF would drop in silence.
"""

from collections.abc import Mapping, Set
from itertools import islice
from typing import Any

from django.utils.translation import gettext as _
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.views import APIView

PAGE = "api"
"""The format of the browsable API's pages."""
MAX_NAMED = 20


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
        raise serializers.ValidationError(errors)


class KnownFields(serializers.Serializer[Any]):
    """Refuses a body with fields that it does not have: DRF would drop them in silence.

    Fields that are only read are known, and ignored: what a client has read, it may change and send back.
    """

    def to_internal_value(self, data: Any) -> Any:
        """Return the validated values.

        Raises:
            ValidationError: a value is invalid, or a field unknown; up to `MAX_NAMED` unknown ones are named.
        """
        unknown = (name for name in data if name not in self.fields) if isinstance(data, Mapping) else ()
        errors = {_writable(name): [_("There is no such field.")] for name in islice(unknown, MAX_NAMED)}
        try:
            values = super().to_internal_value(data)
        except serializers.ValidationError as error:
            said: Any = error.detail
            raise serializers.ValidationError(said | errors) from None
        if errors:
            raise serializers.ValidationError(errors)
        return values


def _writable(name: str) -> str:
    r"""Return a name out of a client's JSON as a text that UTF-8 can encode: a lone surrogate becomes `\udc00`."""
    return name.encode(errors="backslashreplace").decode()
