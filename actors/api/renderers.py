"""Renderers for responses other than JSON, whose errors are JSON all the same."""

from typing import Any

from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.response import Response
from rest_framework.views import APIView


class EventStreamRenderer(BaseRenderer):
    """Negotiates Server-Sent Events; the events themselves are rendered by `stream`."""

    media_type = "text/event-stream"
    format = "sse"


class JsonErrors(APIView):
    """A view whose errors are JSON, whatever its successful responses are."""

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        # A DRF Response here is an error or the answer to OPTIONS: a stream is Django's StreamingHttpResponse.
        if isinstance(response, Response) and not isinstance(self.get_renderers()[0], JSONRenderer):
            request.accepted_renderer, request.accepted_media_type = JSONRenderer(), JSONRenderer.media_type
        return super().finalize_response(request, response, *args, **kwargs)
