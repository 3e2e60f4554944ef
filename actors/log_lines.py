"""Log lines about tasks, in the log's language (`LOG_LANGUAGE`), not in that of the client whose request is logged."""

from functools import cache
from typing import Literal

from django.conf import settings
from django.utils import translation
from django.utils.translation import gettext, gettext_noop

TEXTS = {
    "created": gettext_noop("New task created: %(title)s (ID: %(id)s, Owner: %(owner)s)"),
    "updated": gettext_noop("Task updated: %(title)s (ID: %(id)s, Owner: %(owner)s)"),
    "deleted": gettext_noop("Task deleted: %(title)s (ID: %(id)s, Owner: %(owner)s)"),
}


def task_line(event: Literal["created", "updated", "deleted"], *, task_id: int, title: str, owner: str) -> str:
    """Return the log line for `event`; `owner` is a username."""
    return _text(event, settings.LOG_LANGUAGE) % {"id": task_id, "title": title, "owner": owner}


@cache
def _text(event: str, language: str) -> str:
    with translation.override(language):
        return gettext(TEXTS[event])
