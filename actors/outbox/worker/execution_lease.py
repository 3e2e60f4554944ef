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

LEASE_SECONDS = 30.0
RENEW_SECONDS = LEASE_SECONDS / 3


def lease_end() -> CombinedExpression:
    """Return until when a hold that is taken or extended now lasts, by the database's clock."""
    return Now() + timedelta(seconds=LEASE_SECONDS)


class ExecutionLease(NamedTuple):
    """What is held, and by which run of it."""

    row_id: int

    run: UUID


def renew(leases: Collection[ExecutionLease]) -> None:
    """Make holds last `LEASE_SECONDS` from now on, unless they have ended, or are another run's, meanwhile.

    A row that is locked is passed over, lest the other holds lapse: the next round comes before its hold ends.
    """
    held = OutboxMessage.objects.filter(
        pk__in=[lease.row_id for lease in leases], held_by__in=[lease.run for lease in leases]
    )
    with transaction.atomic():
        mine = list(held.select_for_update(skip_locked=True).values_list("pk", flat=True))
        held.filter(pk__in=mine).update(held_until=lease_end())


class LeaseRenewer:
    """Extends the holds of what this process runs, in a thread that lives while there are any."""

    def __init__(self) -> None:
        self.forget()
        os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        """Keep nothing: after a fork it is the parent's."""
        self._lock = threading.Lock()
        self._leases: set[ExecutionLease] = set()
        self._is_idle = threading.Event()
        self._is_idle.set()

    @contextmanager
    def renewing(self, lease: ExecutionLease) -> Iterator[None]:
        """Keep a hold that was taken for as long as the block runs."""
        with self._lock:
            self._leases.add(lease)
            if self._is_idle.is_set():
                self._is_idle.clear()
                threading.Thread(target=self._renew, name="outbox-leases", daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                self._leases.discard(lease)
                if not self._leases:
                    self._is_idle.set()

    def _renew(self) -> None:
        idle = self._is_idle
        while not idle.wait(RENEW_SECONDS):
            with self._lock:
                leases = set(self._leases)
            try:
                renew(leases)
            except Exception as error:  # noqa: BLE001 – whatever it is: nobody else would extend them
                logger.warning("execution leases not renewed: %s: %s", type(error).__name__, error)
                connection.close()
        connection.close()
