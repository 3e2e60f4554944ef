"""Frees a request of the API as soon as it is answered, instead of leaving it to the garbage collector.

A view, its request, its answer and the handlers that Django REST Framework binds to the view hold one another: ninety
objects a request that reference counts never free. The collector then runs every seven requests, and now and then
through all that the process has, for a twentieth of a second (docs/decisions/0017-what-a-request-is-spared.md).
What browsers and the schema are given has more cycles, of templates and forms; those stay the collector's.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from rest_framework.response import Response

if TYPE_CHECKING:
    from django.template.response import SimpleTemplateResponse


class BrokenCycles:
    """Middleware that lets go of the view once the answer is rendered: nothing asks for it afterwards."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_template_response(
        self, request: HttpRequest, response: "SimpleTemplateResponse"
    ) -> "SimpleTemplateResponse":
        if isinstance(response, Response):
            response.add_post_render_callback(_let_go)
        return response


def _let_go(response: Response) -> None:
    context = getattr(response, "renderer_context", None)
    if context is None:  # it comes from Django's cache, rendered long ago
        return
    vars(context["view"]).clear()
    context["request"].parser_context.clear()
    context.clear()
