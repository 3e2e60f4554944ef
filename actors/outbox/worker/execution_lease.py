"""Holds: a row is kept for the worker that runs it, where its effect is outside the database and cannot be rolled back.

Guarantee: while a held actor runs, no copy of its message begins to run. A hold whose worker died ends by itself.
"""

import logging
import os
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from django.db import connection, transaction
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now

from actors.outbox.models import OutboxMessage

logger = logging.getLogger(__name__)

HOLD_SECONDS = 30.0
EXTEND_SECONDS = HOLD_SECONDS / 3


def end_of_hold() -> CombinedExpression:
    """Return until when a hold that is taken or extended now lasts, by the database's clock."""
    return Now() + timedelta(seconds=HOLD_SECONDS)


class Hold(NamedTuple):
    """What is held, and by which run of it."""

    row_id: int

    run: UUID


def extend(holds: Collection[Hold]) -> None:
    """Make holds last `HOLD_SECONDS` from now on, unless they have ended, or are another run's, meanwhile.

    A row that is locked is passed over, lest the other holds lapse: the next round comes before its hold ends.
    """
    held = OutboxMessage.objects.filter(
        pk__in=[hold.row_id for hold in holds], held_by__in=[hold.run for hold in holds]
    )
    with transaction.atomic():
        mine = list(held.select_for_update(skip_locked=True).values_list("pk", flat=True))
        held.filter(pk__in=mine).update(held_until=end_of_hold())


class HoldKeeper:
    """Extends the holds of what this process runs, in a thread that lives while there are any."""

    def __init__(self) -> None:
        self.forget()
        os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        """Keep nothing: after a fork it is the parent's."""
        self._lock = threading.Lock()
        self._holds: set[Hold] = set()
        self._is_idle = threading.Event()
        self._is_idle.set()

    @contextmanager
    def keeping(self, hold: Hold) -> Iterator[None]:
        """Keep a hold that was taken for as long as the block runs."""
        with self._lock:
            self._holds.add(hold)
            if self._is_idle.is_set():
                self._is_idle.clear()
                threading.Thread(target=self._keep, name="outbox-holds", daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                self._holds.discard(hold)
                if not self._holds:
                    self._is_idle.set()

    def _keep(self) -> None:
        idle = self._is_idle
        while not idle.wait(EXTEND_SECONDS):
            with self._lock:
                holds = set(self._holds)
            try:
                extend(holds)
            except Exception as error:  # noqa: BLE001 – whatever it is: nobody else would extend them
                logger.warning("holds not extended: %s: %s", type(error).__name__, error)
                connection.close()
        connection.close()
