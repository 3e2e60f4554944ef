"""Carries rows to RabbitMQ: claim a batch, publish it with confirms, stamp what was confirmed.

Guarantee: a row is stamped only if RabbitMQ has its message; whatever else happens, it is claimed again. No lock and no
transaction is open while the network is waited for: a lease says whose a batch is. `Relay.step` is all there is to it;
`thread` and `manage.py relay` drive it, `publisher` is the network.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol
from uuid import UUID, uuid4

from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from actors.outbox import envelope
from actors.outbox.models import AWAITING, OutboxMessage, State
from actors.outbox.publisher import Outcome, Outgoing

logger = logging.getLogger(__name__)

LEASE_SECONDS = 30
LARGEST_WINDOW = 1_000
WINDOW_GROWTH = 4
PUBLISH_TIMEOUT_SECONDS = 20.0
POSTPONE_SECONDS = 1.0


class ConfirmedPublishing(Protocol):
    """What a relay needs of a publisher."""

    def is_ready(self) -> bool:
        """Say whether a publish could be confirmed now: connected, and not blocked."""

    def publish(self, messages: Sequence[Outgoing], *, timeout_seconds: float, on_wait: Callable[[], None]) -> Outcome:
        """Publish and say what became of each; `on_wait` is called every so often meanwhile."""


@dataclass(kw_only=True)
class Relay:
    """What a relay remembers from one step to the next: how much it dares to claim at once."""

    publisher: ConfirmedPublishing

    window: int = field(default=1, init=False)
    """Rows a claim. It starts at 1 after every failure: a batch is risked only where a single message got through."""

    def step(self) -> bool:
        """Carry one batch to RabbitMQ and return whether there may be more to carry at once."""
        if not self.publisher.is_ready() or not ready_rows().exists():
            return False
        token, rows = claim(self.window)
        try:
            outcome = self.publisher.publish(
                [envelope.seal(row) for row in rows],
                timeout_seconds=PUBLISH_TIMEOUT_SECONDS,
                on_wait=lambda: extend(token, rows),
            )
            stamp(token, outcome.confirmed)
            bury(token, outcome.refused)
            postpone(token, rows)
        finally:
            release(token, rows)
        went_well = len(outcome.confirmed) == len(rows)
        self.window = min(self.window * WINDOW_GROWTH, LARGEST_WINDOW) if went_well else 1
        return went_well and bool(rows)


def ready_rows() -> QuerySet[OutboxMessage]:
    """Return the rows that are due and nobody's, the longest due first."""
    unleased = Q(lease_until=None) | Q(lease_until__lt=Now())
    return OutboxMessage.objects.filter(unleased, state__in=AWAITING, due_at__lte=Now()).order_by("due_at", "id")


def claim(limit: int) -> tuple[UUID, list[OutboxMessage]]:
    """Lease up to `limit` rows for `LEASE_SECONDS`, by the database's clock; return the lease's token and the rows."""
    token = uuid4()
    with transaction.atomic():
        rows = list(_skipping_locked(ready_rows())[:limit])
        OutboxMessage.objects.filter(pk__in=[row.pk for row in rows]).update(
            state=State.PENDING, lease_token=token, lease_until=Now() + timedelta(seconds=LEASE_SECONDS)
        )
    return token, rows


def extend(token: UUID, rows: Sequence[OutboxMessage]) -> None:
    """Keep a lease while its confirms are outstanding."""
    _still_leased(token, rows).update(lease_until=Now() + timedelta(seconds=LEASE_SECONDS))


def stamp(token: UUID, confirmed: Iterable[int]) -> None:
    """Mark rows as published, but for those that a worker was faster with, or is settling at this moment."""
    with transaction.atomic():
        mine = OutboxMessage.objects.filter(pk__in=list(confirmed), lease_token=token, state=State.PENDING)
        published = list(_skipping_locked(mine).values_list("pk", flat=True))
        OutboxMessage.objects.filter(pk__in=published).update(
            state=State.PUBLISHED, published_at=Now(), lease_token=None, lease_until=None
        )


def bury(token: UUID, refused: dict[int, str]) -> None:
    """Declare dead what RabbitMQ will never take, with its reason."""
    for row_id, reason in refused.items():
        logger.error("died row=%d reason=refused error=%r", row_id, reason)
        OutboxMessage.objects.filter(pk=row_id, lease_token=token).die("refused by RabbitMQ", error=reason)


def postpone(token: UUID, rows: Sequence[OutboxMessage]) -> None:
    """Put what is still leased behind the others: what nobody takes must not hold up what gets through."""
    _still_leased(token, rows).filter(state=State.PENDING).update(due_at=Now() + timedelta(seconds=POSTPONE_SECONDS))


def release(token: UUID, rows: Sequence[OutboxMessage]) -> None:
    """Give back what is still leased: the next claim takes it up."""
    _still_leased(token, rows).update(lease_token=None, lease_until=None)


def _still_leased(token: UUID, rows: Sequence[OutboxMessage]) -> QuerySet[OutboxMessage]:
    # By id: a token alone has no index, and would be looked for in the whole table at every step.
    return OutboxMessage.objects.filter(pk__in=[row.pk for row in rows], lease_token=token)


def _skipping_locked(rows: QuerySet[OutboxMessage]) -> QuerySet[OutboxMessage]:
    # SQLite has neither row locks nor skipping; there the transaction itself is the lock.
    if connection.features.has_select_for_update_skip_locked:
        return rows.select_for_update(skip_locked=True)
    return rows
