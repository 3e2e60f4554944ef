"""Holds: a row is kept for the worker that runs it, where its effect is outside the database and cannot be rolled back.

Guarantee: while a held actor runs, no copy of its message begins to run. A hold whose worker died ends by itself.
"""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.db import connection
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now

from actors.outbox.envelope import Ticket
from actors.outbox.models import OutboxMessage

logger = logging.getLogger(__name__)

HOLD_SECONDS = 30.0
EXTEND_SECONDS = HOLD_SECONDS / 3


def end_of_hold() -> CombinedExpression:
    """Return until when a hold that is taken or extended now lasts, by the database's clock."""
    return Now() + timedelta(seconds=HOLD_SECONDS)


def extend(tickets: set[Ticket]) -> None:
    """Make holds last `HOLD_SECONDS` from now on, unless their messages have ended meanwhile."""
    for ticket in tickets:
        row = OutboxMessage.objects.filter(pk=ticket.row_id, attempt=ticket.attempt)
        row.exclude(held_until=None).update(held_until=end_of_hold())


class HoldKeeper:
    """Extends the holds of what this process runs, in a thread that lives while there are any."""

    def __init__(self) -> None:
        self.forget()
        os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        """Keep nothing: after a fork it is the parent's."""
        self._lock = threading.Lock()
        self._tickets: set[Ticket] = set()
        self._is_idle = threading.Event()
        self._is_idle.set()

    @contextmanager
    def keeping(self, ticket: Ticket) -> Iterator[None]:
        """Keep a hold that was taken for as long as the block runs."""
        with self._lock:
            self._tickets.add(ticket)
            if self._is_idle.is_set():
                self._is_idle.clear()
                threading.Thread(target=self._keep, name="outbox-holds", daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                self._tickets.discard(ticket)
                if not self._tickets:
                    self._is_idle.set()

    def _keep(self) -> None:
        idle = self._is_idle
        while not idle.wait(EXTEND_SECONDS):
            with self._lock:
                tickets = set(self._tickets)
            try:
                extend(tickets)
            except Exception as error:  # noqa: BLE001 – whatever it is: nobody else would extend them
                logger.warning("holds not extended: %s: %s", type(error).__name__, error)
                connection.close()
        connection.close()
