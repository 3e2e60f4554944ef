"""Carries rows to RabbitMQ: claim a batch, publish it with confirms, stamp what was confirmed.

Guarantee: a row is stamped only if RabbitMQ has its message; whatever else happens, it is claimed again. No lock and no
transaction is open while the network is waited for: a lease says whose a batch is. `Relay.step` is all there is to it;
`thread` and `manage.py relay` drive it, `publisher` is the network.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol
from uuid import UUID, uuid4

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from dramatiq.errors import DecodeError

from actors.outbox import envelope, store
from actors.outbox.amqp.publisher import Outcome, Outgoing
from actors.outbox.db.postgres import skips_locked
from actors.outbox.models import AWAITING, OutboxMessage, State, log_fields
from actors.outbox.store import LEASE_SECONDS

logger = logging.getLogger(__name__)

MAX_WINDOW = 1_000
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

    suspects: int = field(default=0, init=False)
    """For how many more steps it stays at 1: one of so many rows makes RabbitMQ close the channel, over all of them."""

    carried: int = field(default=0, init=False)
    """How many messages it has handed to RabbitMQ until now, with or without success."""

    def step(self) -> bool:
        """Carry one batch to RabbitMQ and return whether there may be more to carry at once."""
        if not self.publisher.is_ready() or _is_known_to_be_idle():
            return False
        token, rows = claim(self.window)
        if not rows:
            return False
        self.carried += len(rows)
        try:
            outcome = self._carry(token, rows)
        except BaseException:
            release(token, rows)
            raise
        went_well = not (outcome.refused or outcome.unroutable or outcome.unknown)
        was_full = len(rows) == self.window
        self.suspects = len(rows) if outcome.channel_error else max(0, self.suspects - 1)
        self.window = min(self.window * WINDOW_GROWTH, MAX_WINDOW) if went_well and not self.suspects else 1
        return went_well and was_full

    def _carry(self, token: UUID, rows: Sequence[OutboxMessage]) -> Outcome:
        """Publish and stamp; return what became of the messages."""
        messages, unreadable = encode(rows)
        outcome = self.publisher.publish(
            messages, timeout_seconds=PUBLISH_TIMEOUT_SECONDS, on_wait=lambda: extend_lease(token, rows)
        )
        stamped = mark_published(token, outcome.confirmed)
        mark_dead(token, rows, unreadable, reason="undecodable")
        mark_dead(token, rows, outcome.refused, reason="refused by RabbitMQ")
        if outcome.channel_error:
            # Due as before, and so before whatever is sent meanwhile: each is to be tried alone.
            release(token, rows)
        elif stamped < len(rows):
            postpone(token, rows)
        return outcome


def ready_rows() -> QuerySet[OutboxMessage]:
    """Return the rows that are due and nobody's, the longest due first."""
    now = Now() + timedelta()  # a sum has six digits in SQLite, as in `statements`
    unleased = Q(lease_until=None) | Q(lease_until__lt=now)
    return OutboxMessage.objects.filter(unleased, state__in=AWAITING, due_at__lte=now).order_by("due_at", "id")


def claim(limit: int) -> tuple[UUID, list[OutboxMessage]]:
    """Lease up to `limit` rows for `LEASE_SECONDS`, by the database's clock; return the lease's token and the rows."""
    token = uuid4()
    return token, store.claim(token, limit)


def encode(rows: Sequence[OutboxMessage]) -> tuple[list[Outgoing], dict[int, str]]:
    """Return the messages of rows and, by id, why some have none: one bad row must not hold up the others."""
    messages, unreadable = [], {}
    for row in rows:
        try:
            messages.append(envelope.to_amqp(row))
        except (DecodeError, TypeError) as error:
            unreadable[row.pk] = f"{type(error).__name__}: {error}"
    return messages, unreadable


def extend_lease(token: UUID, rows: Sequence[OutboxMessage]) -> None:
    """Keep a lease while its confirms are outstanding."""
    _change_leased(token, rows, lease_until=Now() + timedelta(seconds=LEASE_SECONDS))


def mark_published(token: UUID, confirmed: Collection[int]) -> int:
    """Mark rows as published and return how many, without those that a worker was faster with or is settling now."""
    return store.mark_published(token, confirmed) if confirmed else 0


def mark_dead(token: UUID, rows: Sequence[OutboxMessage], errors: dict[int, str], *, reason: str) -> None:
    """Keep as dead letters those of the rows that RabbitMQ will never take, each with its error, by id."""
    for row in rows:
        if row.pk in errors:
            error = errors[row.pk]
            fields = log_fields(actor=row.actor, subject=row.subject, row=row.pk, attempt=row.attempt, error=error)
            logger.error("state=dead %s reason=%r", fields, reason)
            OutboxMessage.objects.filter(pk=row.pk, lease_token=token).mark_dead(reason, error=error)


def postpone(token: UUID, rows: Sequence[OutboxMessage]) -> None:
    """Give back what is still leased, behind the others: what nobody takes must not hold up what gets through."""
    _change_leased(token, rows, State.PENDING, due_at=Now() + timedelta(seconds=POSTPONE_SECONDS))
    release(token, rows)


def release(token: UUID, rows: Sequence[OutboxMessage]) -> None:
    """Give back what is still leased: the next claim takes it up."""
    _change_leased(token, rows, lease_token=None, lease_until=None)


def _change_leased(token: UUID, rows: Sequence[OutboxMessage], *states: State, **changes: Any) -> None:
    with transaction.atomic():
        # By id: a token alone has no index, and would be looked for in the whole table at every step. Without those
        # that a worker has locked, for as long as an actor may run: their lease ends by itself.
        leased = OutboxMessage.objects.filter(pk__in=[row.pk for row in rows], lease_token=token)
        wanted = leased.filter(state__in=states) if states else leased
        mine = list(wanted.select_for_update(skip_locked=True).values_list("pk", flat=True))
        OutboxMessage.objects.filter(pk__in=mine).update(**changes)


def _is_known_to_be_idle() -> bool:
    # To SQLite an update is a writer, of which there is one at a time, even if it finds nothing to write.
    return not skips_locked() and not ready_rows().exists()
