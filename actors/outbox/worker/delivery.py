"""One message in a worker's hands, and what may interrupt it there."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dramatiq
from django.db import Error, connection
from dramatiq import Broker, MessageProxy
from dramatiq.middleware import ShutdownNotifications, SkipMessage, TimeLimit

from actors.outbox.db.errors import locks_may_be_taken, trust_connection
from actors.outbox.db.transactions import discard_stray_transaction
from actors.outbox.envelope import AttemptRef
from actors.outbox.models import OutboxMessage, OutboxMessageQuerySet, State, log_fields
from actors.outbox.store import UnsettledRow, fetch_unsettled
from actors.outbox.worker.interrupts import lift, take_back_undelivered

INTERRUPTERS = (TimeLimit, ShutdownNotifications)
# A lock that outlasts this is not the relay's, which holds one for milliseconds: whoever waits does so at leisure.
LOCK_TIMEOUT_MS = 2_000
# What execution needs of a row; its body is not among it.
NEEDED = tuple(name for name in UnsettledRow._fields if name not in {"id", "message_id"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """A message of the outbox that a worker has begun."""

    ref: AttemptRef

    message: MessageProxy

    actor: dramatiq.Actor[Any, Any]

    broker: Broker

    @property
    def is_redelivered(self) -> bool:
        """Whether RabbitMQ has handed this copy out before; a stub broker's messages know no deliveries."""
        return getattr(self.message, "redelivered", False)

    @property
    def is_held(self) -> bool:
        """Whether its effect is outside the database, and is held while it runs."""
        return bool(self.actor.options.get("outside_effects"))

    @property
    def returns_rows(self) -> bool:
        """Whether its effect is the rows that it returns."""
        return bool(self.actor.options.get("returns_rows"))

    @property
    def has_key(self) -> bool:
        """Whether no second one of its key is sent until it begins."""
        return bool(self.message.options.get("dedupe_key"))

    @property
    def heeds_shutdown(self) -> bool:
        """Whether it wants to be interrupted when its worker is to stop."""
        notifications = [each for each in self.broker.middleware if isinstance(each, ShutdownNotifications)]
        return any(each.should_notify(self.actor, self.message) for each in notifications)  # type: ignore[no-untyped-call]

    def __str__(self) -> str:
        return self.log_fields()

    def log_fields(self, error: str = "") -> str:
        """Return what log lines say of this message, as `models.log_fields`."""
        subject = str(self.message.options.get("subject") or "")
        return log_fields(
            actor=self.message.actor_name,
            subject=subject,
            row=self.ref.row_id,
            attempt=self.ref.attempt,
            error=error,
        )

    def option(self, name: str) -> Any:
        """Return an option, the message's before the actor's."""
        return self.message.options.get(name) or self.actor.options.get(name)

    def row(self) -> OutboxMessageQuerySet:
        """Return the row to settle, if it is still owed at this attempt."""
        # By the message's id too: a database that is restored or made anew gives a row's number to another message.
        message_id = self.message.message_id
        rows = OutboxMessage.objects.filter(pk=self.ref.row_id, attempt=self.ref.attempt, message_id=message_id)
        return rows.exclude(state=State.DEAD)

    def unsettled_row(self) -> OutboxMessage:
        """Return the row, if it still waits to be settled.

        Raises:
            SkipMessage: it is settled, superseded or dead.
        """
        return self._required(self.row())

    def locked_row(self) -> OutboxMessage:
        """Lock the row for the rest of the transaction, and return it.

        Raises:
            SkipMessage: it is settled, superseded or dead.
            RowIsLocked: somebody else has it locked: the relay, whose stamp's commit takes long, or another worker,
                which may settle it, or may be dead without PostgreSQL's knowing. Only the end of the lock tells.
        """
        wait_for_locks_only_so_long()
        with locks_may_be_taken():
            row = self._required(for_update(self.row()))
        wait_for_locks_as_usual()
        return row

    def _required(self, rows: OutboxMessageQuerySet) -> OutboxMessage:
        found = rows.only(*NEEDED).first()
        if found is None:
            raise SkipMessage("settled or superseded before")
        return found

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let deadlines and shutdowns strike inside, and nowhere else: never while an outcome is being written."""
        for each in self._interrupters():
            each.before_process_message(self.broker, self.message)  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            self.lift_interruptions()

    def lift_interruptions(self) -> None:
        """End the actor's deadline, and let no shutdown strike it."""
        # All of them, before what one has raised already is taken back.
        struck = [lift(each, self.broker, self.message) for each in self._interrupters()]
        if any(struck):
            take_back_undelivered()

    def _interrupters(self) -> list[TimeLimit | ShutdownNotifications]:
        return [each for each in self.broker.middleware if isinstance(each, INTERRUPTERS)]


def read_together(messages: Iterable[MessageProxy]) -> dict[int, UnsettledRow]:
    """Return by id the rows of messages that still wait to be settled, at whatever attempt.

    None, if the database is away: then each is to be read by itself, and waited for.
    """
    discard_stray_transaction()
    trust_connection()
    try:
        return fetch_unsettled([ref.row_id for message in messages if (ref := AttemptRef.of(message.options))])
    except Error:
        connection.close()
        return {}


def for_update(rows: OutboxMessageQuerySet) -> OutboxMessageQuerySet:
    """Lock what is read; on SQLite the transaction itself is the lock."""
    return rows.select_for_update() if connection.vendor == "postgresql" else rows


def wait_for_locks_as_usual() -> None:
    """End `wait_for_locks_only_so_long`: what an actor itself locks is its own affair."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout TO DEFAULT")


def wait_for_locks_only_so_long() -> None:
    """Have a lock waited for only `LOCK_TIMEOUT_MS`, until `wait_for_locks_as_usual` or the transaction's end."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{LOCK_TIMEOUT_MS}ms"])
