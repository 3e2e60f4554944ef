"""The browsable API, without what a Content-Security-Policy forbids: scripts and style sheets in the page itself.

DRF's link to log out is a script; `templates/project/browsable_api.html` has a button in its place. Where Pygments is
installed, DRF writes a style sheet into each page, for highlighted code in the descriptions of views; there is none.
"""

from typing import Any

from rest_framework.renderers import BrowsableAPIRenderer


class PageRenderer(BrowsableAPIRenderer):
    """Renders a response as a page that shows it, with forms to send JSON by."""

    template = "project/browsable_api.html"

    def get_context(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context(*args, **kwargs)
        context["code_style"] = ""
        return context
