"""Whether the client of a long response would still be let in.

Guarantee: `actors` does not know how users sign in. A token that can end has a method `is_still_valid`, which asks the
database; a session of Django's is read anew, with the user and their password.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib.auth import get_user
from django.http import HttpRequest
from rest_framework.request import Request


def admission(request: Request) -> Callable[[], bool]:
    """Return what tells whether the user of a request is still signed in as they were with it."""
    if hasattr(request.auth, "is_still_valid"):
        is_still_valid: Callable[[], bool] = request.auth.is_still_valid
        return is_still_valid
    session = getattr(request, "session", None)
    if request.auth is None and session is not None and session.session_key:
        return partial(_is_signed_in, session, request.user.pk)
    return lambda: True


def _is_signed_in(session: Any, user_pk: Any) -> bool:
    again = HttpRequest()
    again.session = type(session)(session.session_key)
    return bool(get_user(again).pk == user_pk)
