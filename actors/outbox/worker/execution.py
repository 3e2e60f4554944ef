"""Executes one delivery: runs the actor, writes the outcome of the message, and lets it be acknowledged only then.

Guarantee: effects that commit with the settling (the row's deletion, the actor's rows or changes, its follow-ups)
happen exactly once; all others, including what an actor with outside effects writes itself, at least once. Every
outcome is committed before the acknowledgement: settled, scheduled for a retry, or dead. Without an outcome the message
stays unacknowledged, for redelivery.

`delivery` reads and locks the row, `poison` counts starts, `failures` writes the outcome of a failed attempt,
`group_commit` settles for actors that return rows, `execution_lease` keeps the row of an actor that runs outside a
transaction.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar
from uuid import UUID, uuid4

from django.db import OperationalError, connection, transaction
from dramatiq.middleware import Shutdown, SkipMessage

from actors.outbox.context import Context, sent_by
from actors.outbox.db.errors import (
    connection_was_lost,
    database_answers,
    database_is_unavailable,
    is_operational,
    sqlite_is_locked,
)
from actors.outbox.db.retrying import retry_until_available
from actors.outbox.exceptions import LeaveForRedelivery, NotSupported
from actors.outbox.models import OutboxMessage
from actors.outbox.store import UnsettledRow, trail_of
from actors.outbox.worker.delivery import Delivery
from actors.outbox.worker.execution_lease import ExecutionLease
from actors.outbox.worker.failures import NOT_HANDLED, describe, die, write_failure, write_late_failure
from actors.outbox.worker.follow_ups import has_follow_ups, send_follow_ups
from actors.outbox.worker.group_commit import Completion, log_before_commit, rows_of, settle
from actors.outbox.worker.log_buffer import SettledLine, kept_lines
from actors.outbox.worker.poison import begin, forget
from actors.outbox.worker.state import WorkerState

T = TypeVar("T")
R = TypeVar("R", bound=OutboxMessage | UnsettledRow)

# How often in a row the connection may be lost in a run while the database answers at once afterwards. From then on the
# actor itself counts as the cause.
MAX_CUTS = 10
WAITED_FOR_ITSELF = (
    "SQLite is locked by the transaction that settles this message, for another connection of the actor: one that it "
    "opened by asyncio.run() or in a thread. Use asgiref.sync.async_to_sync, or declare it with outside_effects=True."
)


class StartNotCounted(Exception):
    """Raised when the row has starts, so the message may be poison, and this execution's start is not counted yet."""


@dataclass(kw_only=True)
class Execution:
    """One delivery's run of its actor, to its outcome: settled, rescheduled, dead, dropped, or left for redelivery."""

    delivery: Delivery

    worker: WorkerState

    run_id: UUID = field(default_factory=uuid4, init=False)
    """Names this execution as the holder of its execution lease."""

    has_begun: bool = field(default=False, init=False)
    """Whether `poison.begin` has committed: it counted the start and took the lease, as far as they were needed."""

    has_lease: bool = field(default=False, init=False)
    """Whether it has an execution lease; False again after an outage of the database, which may have outlasted it."""

    known_row: UnsettledRow | None = field(default=None, init=False)
    """The row, if a batch has read it together with others. Used once: a further try reads it anew."""

    defer: Callable[["Execution", Completion], None] | None = field(default=None, init=False)
    """In a batch: keeps the completion, to be settled with others. `settle_deferred` follows."""

    before_waiting: Callable[[], None] | None = field(default=None, init=False)
    """In a batch: settles completed runs and gives back messages not begun; called before this one may have to wait."""

    row: OutboxMessage | UnsettledRow | None = field(default=None, init=False)
    """The row as the run has read it."""

    lines: list[SettledLine] = field(default_factory=list, init=False)
    """What the actor's last run logged with `log_when_settled`."""

    cuts: int = field(default=0, init=False)
    """How often in a row the connection was lost in the run while the database answered at once afterwards."""

    def run(self, call_actor: Callable[[], Any]) -> Any:
        """Run the actor and settle the message.

        Args:
            call_actor: calls the actor's function; more than once if the database connection is lost.

        Returns:
            What the actor returned; None if it returned rows.

        Raises:
            SkipMessage: the message was settled or superseded before, rescheduled or given up; this run had no effect.
            LeaveForRedelivery: the worker stops before the outcome could be written.
            BaseException: the actor's own failure, or that of settling; its outcome is written.
        """
        self.delivery.lift_interruptions()
        try:
            if self.delivery.is_redelivered or self.delivery.has_outside_effects or self.delivery.has_key:
                self._retry_until_available(self._begin, may_pass=is_any)
            try:
                return self._retry_until_available(partial(self._attempt, call_actor))
            except StartNotCounted:
                self._retry_until_available(self._begin, may_pass=is_any)
                return self._retry_until_available(partial(self._attempt, call_actor))
        except Shutdown as interruption:
            self._hand_back()
            raise LeaveForRedelivery from interruption

    def fail(self, error: BaseException) -> None:
        """Write the outcome of a message that failed before its actor was called.

        Raises:
            SkipMessage: the message was settled or superseded before, or is forged; nothing is written.
            LeaveForRedelivery: the worker stops before the outcome could be written.
        """
        self.delivery.lift_interruptions()
        self._retry_until_available(self.delivery.unsettled_row, may_pass=is_any)
        self._write_failure(error)

    def skip(self) -> None:
        """Settle a message that a middleware has skipped: its work is done without a run.

        Raises:
            SkipMessage: the message was settled or superseded before, or is forged; nothing is written.
            LeaveForRedelivery: the worker stops before the message could be settled.
        """
        self.delivery.lift_interruptions()
        self._retry_until_available(self.delivery.unsettled_row, may_pass=is_any)
        self._retry_until_available(lambda: self.delivery.row().delete(), may_pass=is_any)

    def fail_afterwards(self, row: OutboxMessage | UnsettledRow | None) -> None:
        """Make a dead letter of a message that a middleware has failed after its outcome was written.

        Args:
            row: the row that was settled; None if a retry was written.

        Raises:
            LeaveForRedelivery: the worker stops before the dead letter could be written.
        """
        self._retry_until_available(partial(write_late_failure, self.delivery, row), may_pass=is_any)

    def settle_deferred(self, completion: Completion) -> None:
        """Settle a completion that was deferred, unless another copy has settled the message since.

        Raises:
            SkipMessage: the message was settled or superseded before.
            LeaveForRedelivery: the worker stops before the outcome could be written.
            BaseException: the failure of the completion's rows or follow-ups; its outcome is written.
        """
        try:
            self._settle(completion)
        except SkipMessage:
            self.delivery.withhold_result()
            raise
        except LeaveForRedelivery:
            raise
        except BaseException as error:
            self._write_failure(error)
            raise

    @property
    def needs_lease(self) -> bool:
        """Whether the actor runs outside a transaction, where no row lock shows that it is running.

        `poison.begin` takes the lease: always for outside effects; for an actor that returns rows only where a start
        has to be written anyway, because a second run costs only time: its rows are written once.
        """
        return self.delivery.has_outside_effects or self.delivery.returns_rows

    def _attempt(self, call_actor: Callable[[], Any]) -> Any:
        if self.has_begun and self.needs_lease and not self.has_lease:
            self._begin()
        try:
            if self.needs_lease:
                return self._run_then_settle(call_actor)
            return self._run_and_settle(call_actor)
        except (SkipMessage, Shutdown, LeaveForRedelivery, StartNotCounted):
            raise
        except BaseException as error:
            self.delivery.lift_interruptions()
            if database_is_unavailable(error) and not self._is_caused_by_actor(error):
                # The outage may last longer than the lease.
                self.has_lease = False
                if self.cuts:  # the database answers: the rest of the batch need not wait for this message
                    self._release_batch()
                raise
            self._write_failure(error)
            raise

    def _is_caused_by_actor(self, error: BaseException) -> bool:
        """Return whether the actor caused an apparent outage: our connection works, or it was lost `MAX_CUTS` times."""
        if not connection_was_lost(error):
            return False
        if connection.connection is not None and database_answers():
            # A cursor that the actor has closed, or another database that it uses.
            return True
        connection.close()
        if not database_answers():
            self.cuts = 0
            return False
        self.cuts += 1
        return self.cuts >= MAX_CUTS

    def _run_and_settle(self, call_actor: Callable[[], Any]) -> Any:
        """Run an actor whose effects are in the database, in the transaction that settles its message."""
        with transaction.atomic(durable=True):
            row = self._counted(self.delivery.locked_row())
            with self._on_behalf_of(row):
                try:
                    result = self._result_of(call_actor)
                except OperationalError as error:
                    if sqlite_is_locked(error):
                        raise NotSupported(WAITED_FOR_ITSELF) from error
                    raise
                send_follow_ups(self.delivery, result)
            self.delivery.row().delete()
            log_before_commit(self.lines)
            return result

    def _run_then_settle(self, call_actor: Callable[[], Any]) -> Any:
        """Run an actor outside any transaction, then settle its message, with the rows that it returned."""
        known, self.known_row = self.known_row, None
        row = self._counted(known or self.delivery.unsettled_row())
        with self._on_behalf_of(row), self._lease_renewed():
            result, rows = self._result_of(call_actor), []
            if self.delivery.returns_rows:
                rows, result = rows_of(result, actor_name=self.delivery.actor.actor_name), None
            follow_up = partial(self._send_follow_ups_of, row, result)
            completion = Completion(ref=self.delivery.ref, rows=rows, follow_up=follow_up, lines=self.lines)
            # Under a lease it is settled here, as long as the lease is renewed.
            if self.defer and not self.has_lease:
                self.defer(self, completion)
            else:
                self._settle(completion)
            return result

    def _settle(self, completion: Completion) -> None:
        self._retry_until_available(partial(settle, completion))

    def _result_of(self, call_actor: Callable[[], Any]) -> Any:
        began = time.monotonic()
        try:
            with kept_lines() as self.lines, self.delivery.interruptible():
                if self.worker.stopping.is_set() and self.delivery.heeds_shutdown:
                    # The worker sent its notifications before this actor was registered for one.
                    raise Shutdown
                return call_actor()
        except SkipMessage:
            # Raised by the actor itself: it has nothing to do, so its message is settled.
            return None
        finally:
            self.worker.last_run_seconds[self.delivery.actor.actor_name] = time.monotonic() - began

    def _lease_renewed(self) -> AbstractContextManager[None]:
        return (
            self.worker.lease_renewer.renewing(ExecutionLease(self.delivery.ref.row_id, self.run_id))
            if self.has_lease
            else nullcontext()
        )

    def _on_behalf_of(self, row: OutboxMessage | UnsettledRow) -> AbstractContextManager[None]:
        """Give messages sent inside the block this message's origin, and the actor its trail."""
        context = Context(request_id=row.request_id, changed_by=row.changed_by, changed_by_id=row.changed_by_id)
        return sent_by(context, trail_of(row))

    def _counted(self, row: R) -> R:
        if row.starts and not self.has_begun:
            raise StartNotCounted
        self.row = row
        return row

    def _release_batch(self) -> None:
        if self.before_waiting:
            self.before_waiting()

    def _begin(self) -> None:
        self._release_batch()
        if reason := begin(self.delivery, run=self.run_id, takes_lease=self.needs_lease, resumes=self.has_begun):
            raise SkipMessage(reason)
        self.has_begun, self.has_lease = True, self.needs_lease

    def _hand_back(self) -> None:
        self.delivery.lift_interruptions()
        if self.has_begun:
            self._retry_until_available(partial(forget, self.delivery, run=self.run_id))

    def _send_follow_ups_of(self, row: OutboxMessage | UnsettledRow, result: Any) -> None:
        # In a batch the message's own context has been left by now. Most messages have no follow-ups.
        with self._on_behalf_of(row) if has_follow_ups(self.delivery) else nullcontext():
            send_follow_ups(self.delivery, result)

    def _write_failure(self, error: BaseException) -> None:
        self._release_batch()
        try:
            self._retry_until_available(partial(write_failure, self.delivery, error), may_pass=is_operational)
        except Exception as second:
            if database_is_unavailable(second):
                raise
            # A callback may name an unknown actor, `retry_when` may raise: the message becomes a dead letter then.
            details = f"{describe(error)}; then {describe(second)}"
            both = BaseExceptionGroup(NOT_HANDLED, [error, second])
            self._retry_until_available(partial(die, self.delivery, NOT_HANDLED, details, both), may_pass=is_any)

    def _retry_until_available(
        self, do: Callable[[], T], *, may_pass: Callable[[BaseException], bool] = database_is_unavailable
    ) -> T:
        return retry_until_available(do, stopping=self.worker.stopping, what=self.delivery, may_pass=may_pass)


def is_any(_error: BaseException) -> bool:
    """Accept every error: until the write succeeds, the message must not be acknowledged."""
    return True
