"""The browsable API, without what a Content-Security-Policy forbids: scripts and style sheets in the page itself.

DRF's link to log out is a script; `templates/project/browsable_api.html` has a button in its place. Where Pygments is
installed, DRF writes a style sheet into each page, for highlighted code in the descriptions of views; there is none.
Nor has a page forms for what cannot be done: to change a task that is not there, or to ask again too early.
"""

from typing import Any

from rest_framework import status
from rest_framework.renderers import BrowsableAPIRenderer

# After which no form of the page would be of use. Others, such as a 400, are mended by sending another one.
WITHOUT_FORMS = {
    status.HTTP_204_NO_CONTENT,
    status.HTTP_401_UNAUTHORIZED,
    status.HTTP_403_FORBIDDEN,
    status.HTTP_404_NOT_FOUND,
    status.HTTP_429_TOO_MANY_REQUESTS,
    status.HTTP_503_SERVICE_UNAVAILABLE,
}
FORMS = ("display_edit_forms", "delete_form", "options_form", "filter_form", "extra_actions")


class PageRenderer(BrowsableAPIRenderer):
    """Renders a response as a page that shows it, with forms to send JSON by."""

    template = "project/browsable_api.html"

    def get_context(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context(*args, **kwargs)
        context["code_style"] = ""
        if context["response"].status_code in WITHOUT_FORMS:
            context |= dict.fromkeys(FORMS)
        return context
