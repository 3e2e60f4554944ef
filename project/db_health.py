"""Checks a persistent database connection after it was idle, not before every request.

Django's `conn_health_checks` costs each request a round trip. A connection whose last request ended without an error
less than a second ago is used without a check: a restart of the database takes longer, and a connection that breaks in
between could as well break after a check. That request is answered with a 503, and the connection is closed.
"""

import time
from typing import Any

from django.core.signals import request_finished, request_started
from django.db import connections

TRUSTED_SECONDS = 1.0


def note_use(**_signal: Any) -> None:
    """Record when this thread's connections last worked."""
    now = time.monotonic()
    for each in connections.all(initialized_only=True):
        # Django closes a connection after an error, or checks it before the next use.
        each.good_at = now if each.connection is not None and not each.errors_occurred else 0.0  # type: ignore[attr-defined]


def trust_recent(**_signal: Any) -> None:
    """Skip the check that Django has just requested for this thread's connections, if they worked a moment ago."""
    now = time.monotonic()
    for each in connections.all(initialized_only=True):
        if now - getattr(each, "good_at", 0.0) < TRUSTED_SECONDS:
            each.health_check_done = True  # type: ignore[attr-defined]


def connect_signals() -> None:
    """Run at the start and the end of each request, after Django's own receivers."""
    request_started.connect(trust_recent, dispatch_uid="project.db_health")
    request_finished.connect(note_use, dispatch_uid="project.db_health")
