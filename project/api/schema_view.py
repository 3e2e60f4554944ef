"""`/api/schema/`: the OpenAPI schema, made once for each format, and kept; `/api/docs/`: Swagger UI.

Making it takes a tenth of a second to a second of processor time, and anyone may ask for it. It depends on the release
alone, so a process keeps the bytes, of which there are as many as formats. It is in English, whoever asks.
"""

from functools import cache
from hashlib import sha256
from threading import Lock
from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.utils import translation
from django.utils.cache import get_conditional_response
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.request import Request

LANGUAGE = "en"
_making = Lock()


class SchemaView(SpectacularAPIView):
    """drf-spectacular's view, without its parameter `version`: there is one."""

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        renderer: Any = request.accepted_renderer
        kind: Any = type(renderer)
        with _making:  # by one thread, once
            content, etag = _made(kind)
        response = HttpResponse(content, content_type=renderer.media_type)
        response.headers["Content-Disposition"] = f'inline; filename="Vazifa.{renderer.format}"'
        response.headers["Content-Language"] = LANGUAGE
        response.headers["ETag"] = etag
        return get_conditional_response(request, etag, None, response) or response


class DocsView(SpectacularSwaggerSplitView):
    """drf-spectacular's page, with a template that has no style sheet in it.

    Without OPTIONS: the renderer has no template for what DRF answers to that.
    """

    http_method_names = ("get", "head")
    template_name = "project/swagger_ui.html"


@cache  # of as many texts as there are renderers
def _made(renderer: Any) -> tuple[bytes, str]:
    """Return the schema and its ETag."""
    with translation.override(LANGUAGE):
        schema = SchemaView.generator_class().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
        content = renderer().render(schema, renderer_context={})
    content = content if isinstance(content, bytes) else content.encode()
    return content, f'"{sha256(content).hexdigest()[:32]}"'
