"""One delivery: a message that a worker has received, its row, and the interruptions that may reach its actor."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dramatiq
from django.db import Error, connection
from dramatiq import Broker, MessageProxy
from dramatiq.middleware import ShutdownNotifications, SkipMessage, TimeLimit

from actors.outbox.context import log_fields, log_word
from actors.outbox.db.errors import trust_connection
from actors.outbox.db.postgres import lock_timeout, skips_locked
from actors.outbox.db.transactions import discard_stray_transaction
from actors.outbox.decoding import AttemptRef
from actors.outbox.envelope import differences
from actors.outbox.log_limit import limit_lines
from actors.outbox.models import OutboxMessage, OutboxMessageQuerySet, State
from actors.outbox.store import UnsettledRow, fetch_unsettled
from actors.outbox.worker.interrupts import lift, take_back_undelivered

logger = logging.getLogger(__name__)

FORGED = "forged message dropped row=%s differs=%s: it is not what this service published; the row stays as it is"
limit_lines(logger, FORGED)
INTERRUPTERS = (TimeLimit, ShutdownNotifications)
# The relay keeps a row locked for milliseconds. A lock that lasts longer than this is another worker's; the attempt to
# take it is retried with backoff (`db.retrying`).
LOCK_TIMEOUT_MS = 2_000
# The columns that an execution needs.
NEEDED = tuple(name for name in UnsettledRow._fields if name not in {"id", "message_id"})


@dataclass(kw_only=True, slots=True)
class Delivery:
    """A message of the outbox that a worker has received from RabbitMQ."""

    ref: AttemptRef

    message: MessageProxy

    actor: dramatiq.Actor[Any, Any]

    broker: Broker

    _is_equal: bool = field(default=False, init=False)
    """Whether it was found equal to its row. Asked once: the actor may change its arguments, and run again."""

    @property
    def is_redelivered(self) -> bool:
        """Whether RabbitMQ has delivered this copy before; False with a stub broker, which knows no deliveries."""
        return getattr(self.message, "redelivered", False)

    @property
    def has_outside_effects(self) -> bool:
        """Whether its effect is outside the database, so that it runs under an execution lease."""
        return bool(self.actor.options.get("outside_effects"))

    @property
    def returns_rows(self) -> bool:
        """Whether its effect is the rows that it returns."""
        return bool(self.actor.options.get("returns_rows"))

    @property
    def has_key(self) -> bool:
        """Whether it has a `dedupe_key`: until it begins, a send with the same key writes no row."""
        return bool(self.message.options.get("dedupe_key"))

    @property
    def heeds_shutdown(self) -> bool:
        """Whether its actor asks to be interrupted when the worker stops (`notify_shutdown`)."""
        notifications = [each for each in self.broker.middleware if isinstance(each, ShutdownNotifications)]
        return any(each.should_notify(self.actor, self.message) for each in notifications)  # type: ignore[no-untyped-call]

    def __str__(self) -> str:
        return self.log_fields()

    def log_fields(self, error: str = "") -> str:
        """Return the fields that identify this message in log lines, as `context.log_fields` does."""
        subject = str(self.message.options.get("subject") or "")
        return log_fields(
            actor=self.message.actor_name,
            subject=subject,
            row=self.ref.row_id,
            attempt=self.ref.attempt,
            error=error,
        )

    def option(self, name: str) -> Any:
        """Return an option of the message; if it has none, the actor's."""
        return self.message.options.get(name) or self.actor.options.get(name)

    def row(self) -> OutboxMessageQuerySet:
        """Return the row to settle, if it is unsettled at this attempt."""
        # By the message's id too: a database that was restored or created anew gives the row's id to another message.
        message_id = self.message.message_id
        rows = OutboxMessage.objects.filter(pk=self.ref.row_id, attempt=self.ref.attempt, message_id=message_id)
        return rows.exclude(state=State.DEAD)

    def unsettled_row(self) -> OutboxMessage:
        """Return the row, if it is not settled yet.

        Raises:
            SkipMessage: it is settled, superseded or dead, or it is another message's: this one is forged.
        """
        return self._required(self.row())

    def locked_row(self) -> OutboxMessage:
        """Lock the row for the rest of the transaction, and return it.

        Raises:
            SkipMessage: it is settled, superseded or dead, or it is another message's: this one is forged.
            RowIsLocked: another transaction keeps it locked for longer than `LOCK_TIMEOUT_MS`: the relay's, whose
                commit takes long, or another worker's, which may settle the row, or may be dead without PostgreSQL
                having noticed. Only the end of the lock shows which.
        """
        with lock_timeout(LOCK_TIMEOUT_MS):
            return self._required(for_update(self.row()))

    def _required(self, rows: OutboxMessageQuerySet) -> OutboxMessage:
        found = rows.only(*NEEDED).first()
        if found is None:
            raise SkipMessage("settled or superseded before")
        self.require_equal(found)
        return found

    def require_equal(self, row: OutboxMessage | UnsettledRow) -> None:
        """Check that the message is the one that the row published: any program may have written to RabbitMQ.

        The row stays as it is. Its own copy runs when it arrives; if that was replaced, repair publishes it again.

        Raises:
            SkipMessage: it is another message.
        """
        if self._is_equal:
            return
        if different := differences(self.message, body=bytes(row.body), queue=row.queue):
            logger.error(FORGED, self.ref, ", ".join(map(log_word, different)))
            raise SkipMessage("forged: it differs from its row")
        self._is_equal = True

    def withhold_result(self) -> None:
        """Have Dramatiq's `Results` store nothing for this copy, which runs nothing: another one has the result."""
        if not self.message.failed:
            self.message.options["store_results"] = False

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let time limits and shutdowns interrupt the block alone, never the writing of an outcome."""
        for each in self._interrupters():
            each.before_process_message(self.broker, self.message)  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            self.lift_interruptions()

    def lift_interruptions(self) -> None:
        """End the actor's time limit and its shutdown notification, and drop an undelivered interruption."""
        # All of them first: afterwards none can raise.
        may_have_raised = [lift(each, self.broker, self.message) for each in self._interrupters()]
        if any(may_have_raised):
            take_back_undelivered()

    def _interrupters(self) -> list[TimeLimit | ShutdownNotifications]:
        return [each for each in self.broker.middleware if isinstance(each, INTERRUPTERS)]


def read_together(messages: Iterable[MessageProxy]) -> dict[int, UnsettledRow]:
    """Read the rows of several messages in one statement.

    Returns:
        The rows that are neither settled nor dead, by id, at any attempt. An empty dictionary if the database is
        unavailable: each execution then reads its own row, and retries.
    """
    discard_stray_transaction()
    trust_connection()
    try:
        return fetch_unsettled([ref.row_id for message in messages if (ref := AttemptRef.of(message.options))])
    except Error:
        connection.close()
        return {}


def for_update(rows: OutboxMessageQuerySet) -> OutboxMessageQuerySet:
    """Lock the rows that are read; on SQLite a write transaction locks the whole database."""
    return rows.select_for_update() if skips_locked() else rows
