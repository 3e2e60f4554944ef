"""Answers that are no JSON, whose errors still are."""

from typing import Any

from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.response import Response
from rest_framework.views import APIView


class EventStreamRenderer(BaseRenderer):
    """Server-Sent Events; what is streamed is rendered by `stream`."""

    media_type = "text/event-stream"
    format = "sse"


class JsonErrors(APIView):
    """A view whose errors are JSON, whatever it would have answered otherwise."""

    def handle_exception(self, exc: Exception) -> Response:
        if not isinstance(self.get_renderers()[0], JSONRenderer):
            request: Any = self.request
            request.accepted_renderer, request.accepted_media_type = JSONRenderer(), JSONRenderer.media_type
        return super().handle_exception(exc)
