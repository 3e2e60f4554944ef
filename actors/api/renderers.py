"""AckBuffer that are no JSON, whose errors still are."""

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

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        # What is no stream is an error, or what OPTIONS answers.
        if isinstance(response, Response) and not isinstance(self.get_renderers()[0], JSONRenderer):
            request.accepted_renderer, request.accepted_media_type = JSONRenderer(), JSONRenderer.media_type
        return super().finalize_response(request, response, *args, **kwargs)
