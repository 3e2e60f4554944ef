"""Which representation a client gets."""

from collections.abc import Iterable

from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

ANYTHING = "*/*"


class Negotiation(DefaultContentNegotiation):
    """DRF's negotiation, without its parsing of media types if a client accepts anything or just the first one."""

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
