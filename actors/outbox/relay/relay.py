"""The relay: claims due rows, publishes their messages with confirms, and marks the confirmed rows as published.

Guarantee: a row is marked published only if RabbitMQ has confirmed its message; otherwise it is claimed again, unless
it is dead. No lock is held and no transaction is open while the relay waits for the network: a lease keeps its rows
from other relays. One call of `Relay.step` handles one batch; `thread` calls it, also for `manage.py relay`; the
network I/O is `amqp.publisher`, down to `basic_publish` in `amqp.confirms`.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from dramatiq.errors import DecodeError

from actors.outbox import envelope, store
from actors.outbox.amqp.publisher import Outcome, Outgoing, Publisher
from actors.outbox.decoding import describe
from actors.outbox.models import AWAITING, OutboxMessage
from actors.outbox.store import CENTURY_SECONDS, LEASE_SECONDS

logger = logging.getLogger(__name__)

MAX_WINDOW = 1_000
WINDOW_GROWTH = 4
PUBLISH_TIMEOUT_SECONDS = 20.0
POSTPONE_SECONDS = 1.0
# A claim sees when the next row falls due, if that is before the next sweep. Every relay sees the same, so one that
# comes in vain gives the others a head start at the next row, and twice as long a one each time: a row costs a claim of
# one relay, not of all.
AHEAD_SECONDS = 1.0
MIN_HEAD_START_SECONDS = 0.05
MAX_HEAD_START_SECONDS = 1.0
# While a transaction holds an old snapshot, PostgreSQL keeps the index entries of rows that were published since, and a
# claim of all due rows reads them all. So such claims take a two-hundredth of the time at most, so that fewer messages
# than a hundredth wait for one, after rests that double at most: a database that was slow for a moment makes no long
# rest. Claims in between begin where the last one found its oldest row, less a second for transactions that committed
# late.
REST_PER_FULL_CLAIM = 200
FIRST_REST_SECONDS = 1.0
MAX_REST_SECONDS = 300.0
LATE_COMMIT_SECONDS = 1.0


@dataclass(kw_only=True)
class Relay:
    """A relay, with its state from one step to the next: how many rows it claims at once, and how far back it looks.

    Guarantee: the first claim is of all due rows, and another one follows after `MAX_REST_SECONDS` at most.
    """

    publisher: Publisher

    window: int = field(default=1, init=False)
    """Maximum rows of a claim. 1 after a failure: it grows again only after a message has been confirmed."""

    suspects: int = field(default=0, init=False)
    """For how many more steps the window stays at 1: one of that many rows made RabbitMQ close the channel."""

    tried: int = field(default=0, init=False)
    """How many messages the relay has tried to publish until now, with or without success."""

    next_full_claim: float = field(default=0.0, init=False)
    """When all due rows are to be claimed again, by the system's monotonic clock; 0.0 is now."""

    next_due: float = field(default=math.inf, init=False)
    """When to claim the next row that falls due, by the same clock; infinite if the last step has seen none."""

    _head_start: float = field(default=0.0, init=False)
    """How much later than others the relay comes for the next row, in seconds."""

    _rest: float = field(default=0.0, init=False)
    """How long claims of all due rows last rested, in seconds."""

    _seen_until: float = field(default=0.0, init=False)
    """The last claim found no row that fell due earlier, by the same clock."""

    def step(self) -> bool:
        """Publish one batch; return whether more rows may be due already."""
        expected, self.next_due = self.next_due, math.inf
        if not self.publisher.is_ready():
            return False
        token = uuid4()
        rows = self._claim(token, expected)
        if not rows:
            return False
        self.tried += len(rows)
        try:
            outcome = self._publish(token, rows)
        except BaseException:
            release(token, rows)
            raise
        went_well = not (outcome.refused or outcome.unroutable or outcome.unknown)
        was_full = len(rows) == self.window
        self.suspects = len(rows) if outcome.channel_error else max(0, self.suspects - 1)
        self.window = min(self.window * WINDOW_GROWTH, MAX_WINDOW) if went_well and not self.suspects else 1
        return went_well and was_full

    def _claim(self, token: UUID, expected: float) -> list[OutboxMessage]:
        """Claim rows: those that fell due since the oldest that was found last, or all when it is time for that.

        Args:
            token: identifies the lease.
            expected: when a row was to be found, by the system's monotonic clock.
        """
        began = monotonic()
        is_full = began >= self.next_full_claim
        back = CENTURY_SECONDS if is_full else began - self._seen_until + LATE_COMMIT_SECONDS
        claim = store.claim(token, self.window, max_overdue_seconds=back, ahead_seconds=AHEAD_SECONDS)
        ended = monotonic()
        if claim.rows or claim.due_in_seconds == math.inf:
            self._head_start = 0.0
        elif began >= expected:
            self._head_start = min(max(2 * self._head_start, MIN_HEAD_START_SECONDS), MAX_HEAD_START_SECONDS)
        self.next_due = ended + claim.due_in_seconds + self._head_start
        # The database measures `back` from when the statement reaches it: one that had to connect first, or met a
        # frozen server, looked less far back than to `_seen_until`.
        if is_full or ended - began <= LATE_COMMIT_SECONDS:
            self._seen_until = began - claim.overdue_seconds
        if is_full:
            longest = min(max(2 * self._rest, FIRST_REST_SECONDS), MAX_REST_SECONDS)
            self._rest = min((ended - began) * REST_PER_FULL_CLAIM, longest)
            self.next_full_claim = ended + self._rest
        return claim.rows

    def _publish(self, token: UUID, rows: Sequence[OutboxMessage]) -> Outcome:
        """Publish claimed rows and write the outcome to them; return it."""
        messages, unreadable = encode(rows)
        outcome = self.publisher.publish(
            messages, timeout_seconds=PUBLISH_TIMEOUT_SECONDS, on_wait=lambda: extend_lease(token, rows)
        )
        published = store.mark_published(token, outcome.confirmed)
        mark_dead(token, rows, unreadable, reason="undecodable")
        mark_dead(token, rows, outcome.refused, reason="refused by RabbitMQ")
        if outcome.channel_error:
            # Their due times stay, so they come before messages sent since: each is published alone next.
            release(token, rows)
        elif published < len(rows):
            postpone(token, rows)
        return outcome


def ready_rows() -> QuerySet[OutboxMessage]:
    """Return the rows that are due and under no lease, the longest due first."""
    now = Now() + timedelta()  # on SQLite the sum has six digits after the second, as in `store`
    unleased = Q(lease_until=None) | Q(lease_until__lt=now)
    return OutboxMessage.objects.filter(unleased, state__in=AWAITING, due_at__lte=now).order_by("due_at", "id")


def encode(rows: Sequence[OutboxMessage]) -> tuple[list[Outgoing], dict[int, str]]:
    """Return the rows' AMQP messages and the errors of undecodable rows by row id: they must not block the others."""
    messages, unreadable = [], {}
    for row in rows:
        try:
            messages.append(envelope.to_amqp(row))
        except DecodeError as error:
            unreadable[row.pk] = describe(error)
        except TypeError as error:
            unreadable[row.pk] = f"{type(error).__name__}: {error}"
    return messages, unreadable


def extend_lease(token: UUID, rows: Sequence[OutboxMessage]) -> None:
    """Extend a lease to `LEASE_SECONDS` from now, while its confirms are outstanding."""
    _change_leased(token, rows, lease_until=Now() + timedelta(seconds=LEASE_SECONDS))


def mark_dead(token: UUID, rows: Sequence[OutboxMessage], errors: dict[int, str], *, reason: str) -> None:
    """Make dead letters of the rows with an error in `errors`, by row id: RabbitMQ will never accept them."""
    for row in rows:
        if error := errors.get(row.pk):
            logger.error("state=dead %s reason=%r", store.log_fields_of(row, error), reason)
            OutboxMessage.objects.filter(pk=row.pk, lease_token=token).mark_dead(reason, error=error)


def postpone(token: UUID, rows: Sequence[OutboxMessage]) -> None:
    """Release the rows still leased, due `POSTPONE_SECONDS` from now: undeliverable rows must not block the others."""
    _change_leased(token, rows, due_at=Now() + timedelta(seconds=POSTPONE_SECONDS))
    release(token, rows)


def release(token: UUID, rows: Sequence[OutboxMessage]) -> None:
    """End the lease of the rows that still have it, so the next claim can take them."""
    _change_leased(token, rows, lease_token=None, lease_until=None)


def _change_leased(token: UUID, rows: Sequence[OutboxMessage], **changes: Any) -> None:
    with transaction.atomic():
        # By id, because the token has no index: by the token alone every step would scan the table. Rows locked by a
        # worker, perhaps for as long as its actor may run, are skipped: their lease expires.
        leased = OutboxMessage.objects.filter(pk__in=[row.pk for row in rows], lease_token=token)
        mine = list(leased.select_for_update(skip_locked=True).values_list("pk", flat=True))
        OutboxMessage.objects.filter(pk__in=mine).update(**changes)
