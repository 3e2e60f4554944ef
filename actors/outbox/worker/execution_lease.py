"""Execution leases: each keeps a row for an execution that runs its actor outside a transaction, without a row lock.

Guarantee: while an actor runs under a lease that is renewed, no copy of its message begins. A lease that is not renewed
for `LEASE_SECONDS` expires, whether its worker died, froze or lost the database.
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
    """Return when a lease ends that is taken or renewed now, by the database's clock."""
    return Now() + timedelta(seconds=LEASE_SECONDS)


class ExecutionLease(NamedTuple):
    """A row that is leased, and the execution that has the lease."""

    row_id: int

    run: UUID
    """The `run_id` of the execution, in the column `held_by`."""


def renew(leases: Collection[ExecutionLease]) -> None:
    """Make leases last `LEASE_SECONDS` from now on, except those that were released or taken by another execution.

    A locked row is skipped: a wait could let the other leases expire. The next round comes before its own expires.
    """
    leased = OutboxMessage.objects.filter(
        pk__in=[lease.row_id for lease in leases], held_by__in=[lease.run for lease in leases]
    )
    with transaction.atomic():
        unlocked = list(leased.select_for_update(skip_locked=True).values_list("pk", flat=True))
        leased.filter(pk__in=unlocked).update(held_until=lease_end())


class LeaseRenewer:
    """Renews the leases of this process's executions, in a thread that lives while there are any."""

    def __init__(self) -> None:
        self.forget()
        os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        """Drop all leases: after a fork they are the parent's."""
        self._lock = threading.Lock()
        self._leases: set[ExecutionLease] = set()
        self._is_idle = threading.Event()
        self._is_idle.set()

    @contextmanager
    def renewing(self, lease: ExecutionLease) -> Iterator[None]:
        """Renew a lease that was taken, for as long as the block runs."""
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
            except Exception as error:  # noqa: BLE001 – of any kind: only this thread renews them
                logger.warning("execution leases not renewed: %s: %s", type(error).__name__, error)
                connection.close()
        connection.close()
