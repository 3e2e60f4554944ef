"""The base of renderers for responses that a view streams itself, such as a file or Server-Sent Events."""

from collections.abc import Mapping
from typing import Any

from rest_framework.renderers import JSONRenderer


class StreamRenderer(JSONRenderer):
    """Negotiates a media type. Responses that the view does not stream, errors and those to OPTIONS, become JSON."""

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        assert renderer_context is not None
        renderer_context["response"].headers["Content-Type"] = JSONRenderer.media_type
        return super().render(data)
