"""Which representation a client gets, and that it sends JSON."""

from collections.abc import Iterable

from django.utils.translation import gettext as _
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

ANYTHING = "*/*"


class Negotiation(DefaultContentNegotiation):
    """DRF's negotiation, without its parsing of media types if a client accepts anything or just the first one."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser:
        """Return the parser for a body.

        Raises:
            UnsupportedMediaType: there is none; the text says what to send.
        """
        parser: BaseParser | None = super().select_parser(request, parsers)
        if parser is None:
            detail = _("Send JSON, with the header Content-Type: application/json.")
            raise UnsupportedMediaType(str(request.content_type), detail)
        return parser

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        first = next(iter(renderers))
        media_type = str(first.media_type)
        # A query string may name a format.
        is_plain = not format_suffix and not request.META.get("QUERY_STRING")
        if is_plain and request.META.get("HTTP_ACCEPT", ANYTHING) in (ANYTHING, media_type):
            return first, media_type
        chosen: tuple[BaseRenderer, str] = super().select_renderer(request, renderers, format_suffix)
        return chosen
