"""Frees an API request as soon as it is answered, instead of leaving it to the garbage collector.

A view, its request, its response and the handlers that Django REST Framework binds to the view refer to one another:
ninety objects a request that reference counting never frees. The collector then runs every seven requests, and now and
then over all objects of the process, for a twentieth of a second
(docs/decisions/0017-what-a-request-is-spared.md).
Responses for browsers and the schema have more cycles, of templates and forms; those are left to the collector.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from rest_framework.response import Response

if TYPE_CHECKING:
    from django.template.response import SimpleTemplateResponse


class BrokenCycles:
    """Middleware that clears the view's references once the response is rendered: nothing reads them afterwards."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_template_response(
        self, request: HttpRequest, response: "SimpleTemplateResponse"
    ) -> "SimpleTemplateResponse":
        if isinstance(response, Response):
            response.add_post_render_callback(_clear_references)
        return response


def _clear_references(response: Response) -> None:
    context = getattr(response, "renderer_context", None)
    if context is None:  # from Django's cache, rendered earlier
        return
    vars(context["view"]).clear()
    context["request"].parser_context.clear()
    context.clear()
