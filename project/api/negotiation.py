"""Which representation a client gets."""

from collections.abc import Iterable
from typing import Any

from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

ANYTHING = "*/*"


class Negotiation(DefaultContentNegotiation):
    """DRF's negotiation, without its parsing of media types if a client accepts anything or just the first one."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        first: Any = next(iter(renderers))
        if not format_suffix and self._takes(first, request):
            return first, first.media_type
        chosen: tuple[BaseRenderer, str] = super().select_renderer(request, renderers, format_suffix)
        return chosen

    def _takes(self, renderer: Any, request: Request) -> bool:
        accepted = request.META.get("HTTP_ACCEPT", ANYTHING)
        # Most requests have no query string, and need no parsing of it.
        is_overridden = bool(request.META.get("QUERY_STRING")) and (
            self.settings.URL_FORMAT_OVERRIDE in request.query_params
        )
        return accepted in {ANYTHING, renderer.media_type} and not is_overridden
